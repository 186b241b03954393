"""`twofold.cache`: the cache "default", under one name that stays."""

import copy
import dataclasses
import inspect
import pickle
import pydoc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twofold import Cache, SettingsError, cache, caches, configure
from twofold.registry import build
from twofold.settings import read_cache
from twofold.standins import StandIn


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Iterator[None]:
    """Two aliases, none of them built yet."""
    configure({"default": f"memory:///{tmp_path}", "disk": f"sqlite:///{tmp_path}/cache.db"})
    yield
    configure()


@dataclasses.dataclass
class Service:
    """Something that holds a cache."""

    name: str
    store: Cache


DUPLICATES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    lambda held: dataclasses.asdict(Service("a", held))["store"],
    lambda held: copy.deepcopy(Service("a", held)).store,
    lambda held: pickle.loads(pickle.dumps(held)),
    lambda held: pickle.loads(pickle.dumps(held, protocol=2)),
]


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("alias", ["", "default", "disk"])
@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_what_holds_a_cache_can_be_copied(duplicate: Any, alias: str, used: bool) -> None:
    """A copy of a cache, and a pickle of one of the settings, is the cache, used before or not."""
    held = caches[alias] if alias else cache
    if used:
        held.set("k", 1)
    assert duplicate(held) is held


def test_a_pickle_is_of_the_alias() -> None:
    """After `configure` it is the new cache of that alias; one built by hand has none."""
    kept = pickle.dumps(caches["disk"])
    configure({"default": "memory://", "disk": "memory://other"})
    assert pickle.loads(kept) is caches["disk"]
    lone = build(read_cache("default", "memory://lone"))
    with pytest.raises(pickle.PicklingError, match="by their alias"):
        pickle.dumps(lone)
    assert copy.deepcopy(lone) is lone


def test_it_is_a_cache_with_all_that_a_cache_has() -> None:
    """`isinstance`, `dir`, `help` and the signatures of its methods tell so, used or not."""
    for _ in range(2):
        assert isinstance(cache, Cache)
        assert {"get", "aget", "set", "alias", "backend", "timeout"} <= set(dir(cache))
        assert "Return the value of `key`, or `default`" in pydoc.render_doc(cache)
        assert inspect.signature(cache.get) == inspect.signature(Cache.get).replace(
            parameters=list(inspect.signature(Cache.get).parameters.values())[1:]
        )
        assert cache.set("k", 1)
        assert "k" in cache
        assert repr(cache) == repr(caches["default"])


def test_every_member_is_that_of_the_default_cache() -> None:
    """Methods, properties and attributes, private ones too, are the default cache's own."""
    real = caches["default"]
    members = {*vars(real), *(name for name in vars(Cache) if not name.startswith("__"))}
    for name in members - {"typed"}:  # a view follows `configure`, as the cache itself does
        assert getattr(cache, name) == getattr(real, name), name
    with pytest.raises(AttributeError):
        cache.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_looking_at_it_reads_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only asks what kind of object it is builds no cache."""
    configure()
    monkeypatch.setattr(caches, "_read", lambda: pytest.fail("settings were read"))
    assert isinstance(cache, Cache)
    assert "get" in dir(cache)
    assert not hasattr(cache, "__wrapped__")
    assert copy.deepcopy([cache])[0] is pickle.loads(pickle.dumps(cache)) is cache


def test_it_follows_configure() -> None:
    """Methods taken by name afterwards are those of the new cache."""
    cache.set("k", 1)
    configure({"default": "memory://elsewhere", "disk": "memory://"})
    assert cache.get("k") is None
    methods = [name for name in dir(Cache) if not name.startswith("__") and name != "typed"]
    owned = {name: getattr(getattr(cache, name), "__self__", None) for name in methods}
    real = caches["default"]
    assert not [name for name, owner in owned.items() if isinstance(owner, StandIn)]
    assert owned["get"] is owned["aset"] is owned["get_or_set"] is owned["clear"] is real
    with pytest.raises(SettingsError):
        caches["other"]
