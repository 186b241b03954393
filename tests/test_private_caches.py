"""Private caches: for libraries, which must not touch the application's caches."""

import asyncio
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.dict_backend import DictBackend
from twofold import (
    Backend,
    Cache,
    PartlyUnavailable,
    SettingsError,
    cache,
    cached,
    caches,
    close_all,
    configure,
)
from twofold.claims import renewal
from twofold.registry import aclose_all
from twofold.testing import FACES, Face

SECRET = "a secret that nobody guesses"


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Iterator[None]:
    """The application's own settings, none of whose caches is built yet."""
    configure(f"sqlite:///{tmp_path}/application.db")
    yield
    configure()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "files"])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_two_libraries_do_not_meet(face: Face, kind: str, tmp_path: Path) -> None:
    """Each has its own keys in one store and clears them alone; the settings make no cache."""
    url = f"{kind}:///{tmp_path}/shared"
    first, second = Cache(url, key_prefix="one"), Cache(url, key_prefix="two", timeout=None)

    async def body() -> None:
        mine, theirs = face.view(first), face.view(second)
        assert await mine.set("k", 1)
        assert await theirs.set("k", 2)
        assert await mine.get("k") == 1
        assert await theirs.get("k") == 2
        async with mine.lock("l"), theirs.lock("l", wait=0):
            await mine.clear()
        assert await mine.get("k") is None
        assert await theirs.get("k") == 2
        assert await theirs.ttl("k") is None
        await mine.close()
        await theirs.close()

    face.run(body())
    assert caches.built == {}


def test_the_default_stays_as_it_is(tmp_path: Path) -> None:
    """Neither making one nor using it changes what `cache` is, and `configure` leaves it open."""
    own = Cache("memory://", key_prefix="own")
    own.set("k", 1)
    assert cache.get("k") is None
    configure(f"sqlite:///{tmp_path}/other.db")
    assert own.get("k") == 1


def test_settings_are_arguments() -> None:
    """Each key of an alias is an argument in lower case, and of a URL its parameter."""
    made = Cache(
        "memory://settings?timeout=20",
        key_prefix="lib",
        version=3,
        serializer="json",
        secret=SECRET,
        options={"max_entries": 7, "on_error": "miss"},
    )
    assert (made.timeout, made.alias) == (20.0, "lib")
    assert made._keys("k") == "lib:3:k"
    made.set_many({str(n): n for n in range(9)})
    assert len(made.get_many(map(str, range(9)))) == 7
    assert Cache("memory://", timeout="10m").timeout == 600.0
    assert Cache(DictBackend(), timeout=None).timeout is None


def test_a_store_is_taken_as_it_is() -> None:
    """What a program made itself needs no URL; the options of every alias are given beside."""
    store = DictBackend()
    made = Cache(store, key_prefix="lib", options={"on_error": "miss", "blocking_calls": "allow"})
    assert made.backend is store
    assert made.fails_open
    made.set("k", (1, 2))
    assert Cache(store, key_prefix="lib").get("k") == (1, 2)


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ("memory://", {"ttl": 5}, "there is no setting 'ttl'"),
    ("memory://", {"key_prefx": "a"}, "did you mean 'key_prefix'"),
    ("memory://", {"TIMEOUT": 5}, "did you mean 'timeout'"),
    ("memory://", {"location": "x"}, "there is no setting 'location'"),
    ("memory://", {"timeout": "soon"}, r"^Cache\(timeout=…\): the timeout 'soon' is no duration"),
    ("memory://", {"key_prefix": "a:b"}, r"^Cache\(key_prefix=…\): KEY_PREFIX 'a:b'"),
    ("memory://", {"secret": "short"}, r"^Cache\(secret=…\): must be text or bytes of at least"),
    ("memory://", {"serializer": "yaml"}, r"^Cache\(…\): .*'yaml'"),
    ("memory://", {"options": {"max_entires": 1}}, r"^Cache\(options=…\): .*'max_entries'"),
    ("memory://", {"options": {"on_error": "mis"}}, r"^Cache\(options=…\): .*'miss'"),
    ("memory://?timeout=5", {"timeout": 6}, "in the URL and beside it: leave one out"),
    ("reddis://h", {}, r"^Cache\(backend=…\): .*did you mean 'redis'"),
    ("memory", {}, r"^Cache\(…\): .*URL"),
    ("", {}, r"^Cache\(…\): .*URL"),
    (5, {}, r"^Cache\(…\) takes a URL such as 'redis://127.0.0.1' or a Backend, not 5"),
    (DictBackend, {}, "takes a URL"),
    (DictBackend(), {"options": {"clock": 1}}, "there is no option 'clock'"),
    (DictBackend(), {"serializer": None}, "SERIALIZER None keeps objects"),
]


@pytest.mark.parametrize(("backend", "settings", "message"), WRONG)
def test_what_is_wrong_is_said_as_for_settings(
    backend: Any, settings: dict[str, Any], message: str
) -> None:
    """A `SettingsError` names the argument, and the nearest right name."""
    with pytest.raises(SettingsError, match=message) as caught:
        Cache(backend, **settings)
    assert "CACHES" not in str(caught.value)


def test_an_option_of_the_store_goes_to_the_store() -> None:
    """A store that is there already takes no options any more."""

    class Slow(DictBackend):
        def __init__(self, *, deadline: float = 2.0) -> None:
            super().__init__()

    with pytest.raises(SettingsError, match=r"'deadline' is the store's own: give it to Slow\(…\)"):
        Cache(Slow(), options={"deadline": 5})


def test_its_repr_shows_no_secret() -> None:
    """Neither that of the entries nor a password in the URL."""
    made = Cache("redis://user:hunter2@127.0.0.1:6379/0", secret=SECRET, key_prefix="lib")
    assert "hunter2" not in repr(made)
    assert SECRET not in repr(made)
    assert "<Cache 'lib' KeyMaker('lib', 1)" in repr(made)
    assert "redis://user:***@127.0.0.1:6379/0" in repr(made)


class Closing(DictBackend):
    """A store that knows how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


def test_close_all_closes_it_too() -> None:
    """Both `close_all` and `close` do, as long as somebody uses it."""
    made = Cache(Closing())
    close_all()
    assert made.backend.closed == 1  # type: ignore[attr-defined]
    made.close()
    assert made.backend.closed == 2  # type: ignore[attr-defined]
    store = made.backend
    del made
    close_all()
    assert store.closed == 2  # type: ignore[attr-defined]


async def test_aclose_all_closes_it_too() -> None:
    """`aclose_all` does what `close_all` does."""
    made = Cache(Closing())
    await aclose_all()
    assert made.backend.closed == 1  # type: ignore[attr-defined]


class Failing(Closing):
    """A store that breaks off when it is first closed, as one whose caller is cancelled does."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def close(self) -> None:
        super().close()
        if self.closed == 1:
            raise self.error

    async def aclose(self) -> None:
        self.close()


@pytest.mark.parametrize("error", [OSError, asyncio.CancelledError])
@pytest.mark.parametrize("face", FACES, ids=repr)
def test_one_that_cannot_be_closed_keeps_no_other_open(
    face: Face, error: type[BaseException]
) -> None:
    """Each is closed, and the caller is told."""
    made = [Cache(Closing()), Cache(Failing(error)), Cache(Closing())]

    async def body() -> None:
        with pytest.raises(error):
            close_all() if face.name == "sync" else await aclose_all()

    face.run(body())
    assert [each.backend.closed for each in made] == [1, 1, 1]  # type: ignore[attr-defined]


def test_a_decorator_takes_it() -> None:
    """`@cached(cache=…)` keeps results there."""
    own = Cache("memory://decorated", key_prefix="own")

    @cached(cache=own)
    def double(n: int) -> int:
        return 2 * n

    assert double(4) == 8
    assert own.get(double.key(4)) == 8
    assert caches.built == {}


def test_no_other_process_can_find_it() -> None:
    """Pickling it raises: a pickle of a cache is its alias in the settings."""
    with pytest.raises(pickle.PicklingError, match="only caches of the settings can"):
        pickle.dumps(Cache("memory://"))


class Half(DictBackend):
    """A store of two servers, one of which is down: that of keys which end in "b"."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        raise PartlyUnavailable("b is down", super().get_many(_there(keys)))

    def delete_many(self, keys: Sequence[str]) -> int:
        raise PartlyUnavailable("b is down", super().delete_many(_there(keys)))


def _there(keys: Sequence[str]) -> list[str]:
    return [key for key in keys if not key.endswith("b")]


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_part_is_decoded(face: Face) -> None:
    """`PartlyUnavailable.result` is what the operation would have returned without some servers."""
    store: Backend = Half()
    view = face.view(Cache(store, key_prefix="lib", version=2))

    async def body() -> None:
        await view.set_many({"a": (1, 2), "ä": {3}, "n": 4, "b": 5})
        with pytest.raises(PartlyUnavailable, match="b is down") as caught:
            await view.get_many(["a", "ä", "n", "b", "missing"])
        assert caught.value.result == {"a": (1, 2), "ä": {3}, "n": 4}
        with pytest.raises(PartlyUnavailable) as caught:
            await view.delete_many(["a", "n", "b", "missing"])
        assert caught.value.result == 2
        with pytest.raises(PartlyUnavailable) as caught:
            await view.get_many(["a", "ä", "n"])
        assert caught.value.result == {"ä": {3}}

    face.run(body())
    store.close()


def test_close_all_ends_the_renewals_of_caches_of_before() -> None:
    """Caches of settings that were replaced leave nothing to renew behind `close_all`."""
    assert cache.get_or_set("k", lambda: 1) == 1
    assert renewal.live._tick is not None
    configure()
    close_all()
    assert renewal.live._tick is None
