"""What `twofold.testing` offers: the clock, chaos, the two faces, the suite, the plugin."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import dict_backend
import pytest
from dict_backend import DictBackend

import twofold
from tests.chaos import MemcachedServer, RedisServer
from twofold import (
    BackendUnavailable,
    BlockingCallInEventLoop,
    BlockingCallWarning,
    Cache,
    DeadlineExceeded,
    SettingsError,
    cached,
    caches,
    configure,
)
from twofold.backend import Fill
from twofold.backends.memory import MemoryBackend
from twofold.backends.sqlite import SQLiteBackend
from twofold.testing import (
    FACES,
    AsyncView,
    ChaosBackend,
    Face,
    FakeClock,
    SyncView,
    assert_computed_once,
    case,
)
from twofold.testing.chaos import OPERATIONS

CALLS: dict[str, tuple[Any, ...]] = {
    "add": ("k", b"v", None),
    "compare_and_delete": ("k", b"v"),
    "compare_and_set": ("k", b"v", b"w", None),
    "delete": ("k",),
    "delete_many": (["k"],),
    "fill": ("k", b"stub", b"v", None),
    "fill_many": ({"k": Fill(b"stub", b"v", None)},),
    "get": ("k",),
    "get_or_claim_many": (["k"], b"stub", 30.0),
    "get_or_claim": ("k", b"stub", 30.0),
    "release": ("k", b"stub"),
    "release_many": ({"k": b"stub"},),
    "renew": ("k", b"stub", 30.0),
    "get_many": (["k"],),
    "has": ("k",),
    "incr": ("n", 1),
    "look": ("k",),
    "look_many": (["k"],),
    "replace": ("k", b"v", b"w"),
    "set": ("k", b"v", None),
    "set_and_delete": ("k", b"v", ["l"]),
    "set_many": ({"k": b"v"}, None),
    "touch": ("k", None),
    "ttl": ("k",),
    "clear": ("",),
}


class Trouble(Exception):
    """An error that is none of twofold's."""


class TestFakeClock:
    """The clock."""

    def test_it_stands_still(self) -> None:
        """Time passes only when it is told to."""
        clock = FakeClock()
        assert (clock.time(), clock.monotonic()) == (clock.time(), clock.monotonic())

    def test_advance_moves_both_clocks(self) -> None:
        """Passing time shows on both clocks."""
        clock = FakeClock(time=1000.0)
        before = clock.monotonic()
        clock.advance(2.5)
        assert clock.time() == 1002.5
        assert clock.monotonic() == before + 2.5

    def test_shift_moves_the_wall_clock_alone(self) -> None:
        """Setting the clock makes no time pass."""
        clock = FakeClock(time=1000.0)
        before = clock.monotonic()
        clock.shift(3600)
        assert clock.time() == 4600.0
        clock.shift(-7200)
        assert clock.time() == -2600.0
        assert clock.monotonic() == before

    def test_time_does_not_pass_backwards(self) -> None:
        """A negative advance is refused, and the message names `shift`."""
        with pytest.raises(ValueError, match="shift"):
            FakeClock().advance(-1)

    def test_its_repr_shows_the_time(self) -> None:
        """Both clocks are in the repr."""
        assert repr(FakeClock(time=5.0)) == "<FakeClock time=5.0 monotonic=1000.0>"


@pytest.fixture
def chaos(twofold_clock: FakeClock) -> Iterator[ChaosBackend]:
    """Return a memory store of its own, with chaos to come."""
    made = ChaosBackend(
        inner=MemoryBackend(f"chaos-{id(twofold_clock)}", clock=twofold_clock), seed=1
    )
    yield made
    made.close()


@pytest.mark.parametrize("face", FACES)
class TestChaosBackend:
    """The backend that fails or is slow when told to."""

    def test_every_operation_is_counted(self, face: Face, chaos: ChaosBackend) -> None:
        """One call of an operation is one call, whatever it is made of."""

        async def use(store: Any) -> None:
            await store.set("n", 1, None)
            for name, args in CALLS.items():
                await getattr(store, name)(*args)

        face.run(use(face.view(chaos)))
        assert set(CALLS) == OPERATIONS
        assert chaos.calls == dict.fromkeys(OPERATIONS, 1) | {"set": 2}

    def test_every_operation_can_fail(self, face: Face, chaos: ChaosBackend) -> None:
        """With a rate of 1 each raises, and is counted all the same."""

        async def use(store: Any) -> None:
            for name, args in CALLS.items():
                with pytest.raises(BackendUnavailable, match=name):
                    await getattr(store, name)(*args)

        chaos.failure_rate = 1.0
        face.run(use(face.view(chaos)))
        assert chaos.calls == dict.fromkeys(OPERATIONS, 1)

    @pytest.mark.parametrize("error", [Trouble, Trouble("mine")])
    def test_the_error_is_chosen(self, face: Face, chaos: ChaosBackend, error: Any) -> None:
        """A class of exceptions or one exception is raised."""

        async def use(store: Any) -> None:
            for _ in range(2):
                with pytest.raises(Trouble, match=r"mine|get failed"):
                    await store.get("k")

        chaos.failure_rate, chaos.error = 1.0, error
        face.run(use(face.view(chaos)))

    def test_only_the_named_operations_fail(self, face: Face, chaos: ChaosBackend) -> None:
        """The others work."""

        async def use(store: Any) -> None:
            await store.set("k", b"v", None)
            with pytest.raises(BackendUnavailable):
                await store.get_many(["k"])
            assert await store.get("k") == b"v"

        chaos.failure_rate, chaos.operations = 1.0, {"get_many"}
        face.run(use(face.view(chaos)))

    def test_some_operations_fail(self, face: Face, chaos: ChaosBackend) -> None:
        """A rate between 0 and 1 is about the share that fails."""

        async def failures(store: Any) -> int:
            failed = 0
            for _ in range(400):
                try:
                    await store.get("k")
                except BackendUnavailable:
                    failed += 1
            return failed

        chaos.failure_rate = 0.25
        assert 60 < face.run(failures(face.view(chaos))) < 140

    def test_an_outage_ends(self, face: Face, chaos: ChaosBackend) -> None:
        """What was changed while it ran holds at once."""

        async def use(store: Any) -> None:
            await store.set("k", b"v", None)
            chaos.failure_rate = 1.0
            with pytest.raises(BackendUnavailable):
                await store.get("k")
            chaos.failure_rate = 0.0
            assert await store.get("k") == b"v"

        face.run(use(face.view(chaos)))

    def test_get_or_set_falls_through(self, face: Face, twofold_cache: Cache) -> None:
        """In an outage what was given is returned; afterwards the cache works again."""

        async def use(view: Any, chaos: ChaosBackend) -> None:
            chaos.failure_rate = 1.0
            assert [await view.get_or_set("k", n) for n in (1, 2)] == [1, 2]
            with pytest.raises(BackendUnavailable):
                await view.get("k")
            chaos.failure_rate = 0.0
            assert [await view.get_or_set("k", n) for n in (3, 4)] == [3, 3]

        configure({"default": {"BACKEND": "twofold.testing.ChaosBackend"}})
        backend = caches["default"].backend
        assert isinstance(backend, ChaosBackend)
        face.run(use(face.view(caches["default"]), backend))
        assert caches["default"].stats().unavailable > 0

    def test_on_error_miss(self, face: Face, twofold_cache: Cache) -> None:
        """With `on_error` an outage is misses and no-ops, not errors."""

        async def use(view: Any) -> None:
            assert await view.set("k", 1) is False
            assert await view.get("k", "miss") == "miss"
            assert await view.set_many({"k": 1}) == ["k"]

        options = {"failure_rate": 1.0, "on_error": "miss"}
        configure({"default": {"BACKEND": "twofold.testing.ChaosBackend", "OPTIONS": options}})
        face.run(use(face.view(caches["default"])))


class TestChaosInTime:
    """Where delays are spent."""

    def test_async_calls_run_in_worker_threads(self) -> None:
        """Whatever the inner backend is, the async half hops."""
        threads: list[str] = []

        class Spy(DictBackend):
            def get(self, key: str) -> bytes | None:
                threads.append(threading.current_thread().name)
                return super().get(key)

        chaos = ChaosBackend(inner=Spy())
        asyncio.run(chaos.aget("k"))
        chaos.get("k")
        chaos.close()
        assert threads[0].startswith("twofold-ChaosBackend")
        assert threads[1] == threading.current_thread().name

    async def test_a_delay_leaves_the_loop_free(self, chaos: ChaosBackend) -> None:
        """Other tasks run while a slow operation is on its way."""
        chaos.delay = 0.05
        slow = asyncio.ensure_future(chaos.aget("k"))
        await asyncio.sleep(0)  # it begins
        await asyncio.sleep(0)
        assert not slow.done()
        assert await slow is None
        await chaos.aclose()

    async def test_slow_operations_run_side_by_side(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While one is late, so are others."""
        chaos, together = ChaosBackend(inner=DictBackend(), delay=1, deadline=20), Barrier(10)
        wait = SimpleNamespace(sleep=lambda _: together.wait(10))
        monkeypatch.setattr("twofold.testing.chaos.time", wait)
        assert await asyncio.gather(*[chaos.aget("k") for _ in range(10)]) == [None] * 10
        await chaos.aclose()

    async def test_a_delay_beyond_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An async call that takes too long raises in time."""
        chaos, over = ChaosBackend(inner=DictBackend(), delay=1, deadline=0.05), threading.Event()
        wait = SimpleNamespace(sleep=lambda _: over.wait(10))
        monkeypatch.setattr("twofold.testing.chaos.time", wait)
        with pytest.raises(DeadlineExceeded, match="deadline"):
            await chaos.aget("k")
        over.set()
        await chaos.aclose()

    def test_some_operations_are_slow(self, chaos: ChaosBackend) -> None:
        """A `delay_rate` of 0 delays none."""
        chaos.delay, chaos.delay_rate = 60.0, 0.0
        assert chaos.get("k") is None

    def test_a_seed_repeats_the_choice(self) -> None:
        """Two backends of one seed fail at the same calls."""

        def failed(chaos: ChaosBackend) -> list[bool]:
            outcomes = []
            for _ in range(50):
                try:
                    outcomes.append(chaos.get("k") is not None)
                except BackendUnavailable:
                    outcomes.append(True)
            return outcomes

        runs = [failed(ChaosBackend(inner=DictBackend(), failure_rate=0.5, seed=7)) for _ in "ab"]
        assert runs[0] == runs[1]
        assert len(set(runs[0])) == 2

    async def test_a_sync_call_in_a_loop_is_refused(self, twofold_cache: Cache) -> None:
        """It blocks, so `Cache` guards against it."""
        configure({"default": {"BACKEND": "twofold.testing.ChaosBackend"}})
        with pytest.raises(BlockingCallInEventLoop, match="aget"):
            caches["default"].get("k")


class TestChaosSettings:
    """How settings say what is inside, and what is wrong with them."""

    def test_it_is_named_in_settings(self, twofold_cache: Cache, twofold_clock: FakeClock) -> None:
        """A short name inside, the clock, and options of both."""
        options = {"inner": "memory", "operations": ["get"], "failure_rate": 1.0, "deadline": 2}
        settings = {"BACKEND": "twofold.testing.ChaosBackend", "LOCATION": "x", "OPTIONS": options}
        configure({"default": settings}, clock=twofold_clock)
        backend = caches["default"].backend
        assert isinstance(backend, ChaosBackend)
        assert isinstance(backend.inner, MemoryBackend)
        assert backend.inner.location == "x"
        assert backend.inner.clock is backend.clock is twofold_clock
        assert backend.holds_objects
        assert backend.deadline == 2.0
        caches["default"].set("n", 1)
        assert caches["default"].incr("n") == 2

    @pytest.mark.parametrize("inner", ["sqlite", "twofold.backends.sqlite.SQLiteBackend", "URL"])
    def test_what_is_inside_is_named_in_any_way(self, inner: str, tmp_path: Path) -> None:
        """A short name, a dotted path, or a URL."""
        path = str(tmp_path / "c.db")
        if inner == "URL":
            chaos = ChaosBackend(inner=f"sqlite:///{path}")
        else:
            chaos = ChaosBackend(path, inner=inner)
        assert isinstance(chaos.inner, SQLiteBackend)
        assert chaos.location == path
        assert not chaos.holds_objects
        chaos.close()

    @pytest.mark.parametrize("name", ["failure_rate", "delay_rate"])
    @pytest.mark.parametrize("value", [-0.1, 1.1, True, "half"])
    def test_a_share_is_from_0_to_1(self, name: str, value: Any) -> None:
        """Any other rate is refused by its name."""
        with pytest.raises(SettingsError, match=name):
            ChaosBackend(inner=DictBackend(), **{name: value})

    def test_an_unknown_operation(self) -> None:
        """A mistyped operation is refused, with the right one."""
        with pytest.raises(SettingsError, match="did you mean 'get_many'"):
            ChaosBackend(inner=DictBackend(), operations=["getmany"])

    def test_its_repr_shows_what_it_does(self) -> None:
        """The rate, the delay and what is inside are in the repr."""
        shown = repr(ChaosBackend(inner=DictBackend("x"), failure_rate=0.5, delay=2.0))
        assert shown.startswith("<ChaosBackend failure_rate=0.5 delay=2.0 over <DictBackend 'x'")


class TestFaces:
    """The views, and test bodies written once."""

    def test_a_view_calls_its_face(self) -> None:
        """The sync view calls `get`, the async view `aget`."""

        class Target:
            def get(self) -> str:
                return "get"

            async def aget(self) -> str:
                return "aget"

        for face, expected in zip(FACES, ["get", "aget"], strict=True):
            assert face.run(face.view(Target()).get()) == expected

    def test_the_sync_face_has_no_event_loop(self) -> None:
        """Its bodies run to their end without one."""

        async def body() -> bool:
            return twofold.guard.in_event_loop()

        assert [face.run(body()) for face in FACES] == [False, True]

    def test_together_is_in_threads_or_in_tasks(self) -> None:
        """Calls wait for each other, so they do run at the same time."""

        async def meet(face: Face) -> list[int]:
            barrier = threading.Barrier(4)
            event, there = asyncio.Event(), []

            async def call(n: int) -> int:
                if not face.is_async:
                    barrier.wait(10)
                else:
                    there.append(n)
                    if len(there) == 4:
                        event.set()
                    await event.wait()
                return n

            return await face.together([lambda n=n: call(n) for n in range(4)])

        for face in FACES:
            assert face.run(meet(face)) == [0, 1, 2, 3]

    def test_a_lock_is_entered_in_its_face(self, twofold_cache: Cache) -> None:
        """`async with view.lock(...)` is `with` in the sync face."""

        async def body(view: Any) -> None:
            async with view.lock("l"):
                with pytest.raises(twofold.LockNotAcquired):
                    async with view.lock("l", wait=0):
                        pass

        for face in FACES:
            face.run(body(face.view(twofold_cache)))

    def test_a_case_asks_for_its_fixtures(self) -> None:
        """A case is a plain function whose parameters are the body's, and `face`."""
        seen: list[Any] = []

        class Suite:
            @case
            async def test_plain(self, store: str) -> None:
                """Say so."""
                seen.append(store)

            @case
            async def test_with_face(self, store: str, face: Face) -> None:
                seen.append((store, face))

        Suite().test_plain(face=FACES[0], store="a")
        Suite().test_with_face(face=FACES[1], store="b")
        assert seen == ["a", ("b", FACES[1])]
        assert Suite.test_plain.__doc__ == "Say so."

    def test_reprs(self) -> None:
        """Faces and views tell what they are."""
        assert repr(FACES) == "(<SyncFace>, <AsyncFace>)"
        assert repr(SyncView(1)) == "<SyncView of 1>"
        assert repr(AsyncView(1)) == "<AsyncView of 1>"

    def test_unknown_names(self) -> None:
        """The room has no other names."""
        with pytest.raises(AttributeError, match="no attribute 'FakeCloak'"):
            twofold.testing.FakeCloak  # noqa: B018


class TestPlugin:
    """The fixtures `twofold_cache` and `twofold_clock`."""

    def test_the_cache_is_the_default_one(self, twofold_cache: Cache) -> None:
        """`twofold.cache`, `caches` and `@cached` use it."""

        @cached
        def double(x: int) -> int:
            return 2 * x

        assert caches["default"] is twofold_cache
        assert list(caches) == ["default"]
        assert twofold.cache.set("k", 1)
        assert twofold_cache.get("k") == 1
        assert (double(2), double(2)) == (4, 4)
        assert twofold_cache.get(double.key(2)) == 4

    def test_the_clock_is_that_of_the_cache(
        self, twofold_cache: Cache, twofold_clock: FakeClock
    ) -> None:
        """Entries end as the clock is advanced."""
        twofold_cache.set("k", 1, timeout=60)
        twofold_clock.advance(59.5)
        assert twofold_cache.ttl("k") == 0.5
        twofold_clock.advance(0.5)
        assert twofold_cache.get("k") is None

    @pytest.mark.parametrize("face", FACES)
    def test_a_refresh_is_over_when_the_call_returns(
        self, face: Face, twofold_cache: Cache, twofold_clock: FakeClock
    ) -> None:
        """Which still returns the stale value, in the caller's thread or loop."""
        runs: list[int] = []

        async def use(view: Any) -> list[Any]:
            def compute() -> int:
                return runs.append(threading.get_ident()) or len(runs)

            got = [await view.get_or_set("k", compute, 10, stale=60)]
            twofold_clock.advance(11)
            got += [await view.get_or_set("k", compute, 10, stale=60), len(runs)]
            return [*got, await view.get_or_set("k", compute, 10, stale=60)]

        assert face.run(use(face.view(twofold_cache))) == [1, 1, 2, 2]
        assert (set(runs) == {threading.get_ident()}) is not face.is_async

    @pytest.mark.parametrize("face", FACES)
    @pytest.mark.usefixtures("twofold_background")
    def test_a_refresh_runs_behind_if_a_test_asks_for_that(
        self, face: Face, twofold_cache: Cache, twofold_clock: FakeClock
    ) -> None:
        """And closing the cache waits for it."""
        may_end = threading.Event()

        async def use(view: Any) -> None:
            def compute() -> str:
                assert may_end.wait(10)
                return "new"

            await view.set("k", "old", 10, stale=60)
            twofold_clock.advance(11)
            assert await view.get_or_set("k", compute, stale=60) == "old"
            assert await view.get("k") is None
            may_end.set()
            await view.close()
            assert await view.get("k") == "new"

        face.run(use(face.view(twofold_cache)))

    async def test_it_works_in_async_tests(self, twofold_cache: Cache) -> None:
        """Both faces are there, for a memory cache never blocks."""
        twofold_cache.set("k", 1)
        assert await twofold_cache.aget("k") == 1

    def test_each_test_starts_empty_and_leaves_all_as_it_was(
        self, pytester: pytest.Pytester
    ) -> None:
        """What a user's tests set elsewhere is untouched by tests with the fixture."""
        pytester.makeconftest(
            """
            import twofold
            twofold.configure({"default": "memory://", "other": "memory://other"})
            twofold.cache.set("k", "the user's own")
            twofold.caches["other"].set("k", "the user's own, too")
            """
        )
        pytester.makepyfile(
            """
            import pytest, twofold

            def get():
                return twofold.cache.get("k")

            def test_before():
                assert get() == "the user's own"

            @pytest.mark.parametrize("n", [1, 2])
            def test_isolated(twofold_cache, n):
                assert get() is None
                twofold.cache.set("k", n)
                assert twofold_cache.get("k") == n
                assert twofold.caches["other"].get("k") is None
                twofold.caches["other"].set("k", "not the user's own")

            def test_configured_inside(twofold_cache):
                twofold.configure({"default": "memory://inside"})
                twofold.cache.set("k", "inside")

            def test_afterwards():
                assert get() == "the user's own"
                assert twofold.caches["other"].get("k") == "the user's own, too"
            """
        )
        run(pytester).assert_outcomes(passed=5)

    def test_settings_that_are_wrong_do_not_matter(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A test needs no settings: there is the default cache at any rate."""
        monkeypatch.setenv("TWOFOLD_SETTINGS", "of_production")
        pytester.makepyfile(of_production='{}["SECRET"]')
        pytester.makepyfile(
            """
            import twofold

            def test_it(twofold_cache):
                assert list(twofold.caches) == ["default"]
                assert twofold_cache.set("k", 1)
            """
        )
        run(pytester).assert_outcomes(passed=1)

    def test_it_does_not_disturb(self, pytester: pytest.Pytester) -> None:
        """Pytest's and a project's own fixtures stay; what is not used is not imported."""
        pytester.makepyfile(
            test_own="""
            import pytest

            @pytest.fixture
            def clock():
                return "own clock"

            def test_own(cache, clock, twofold_cache):
                assert clock == "own clock"
                assert type(cache).__module__ == "_pytest.cacheprovider"
                assert twofold_cache.get("k") is None
            """,
            test_imports="""
            import sys

            def test_imports():
                ours = {name for name in sys.modules if name.partition(".")[0] == "twofold"}
                assert ours <= {"twofold", "twofold.testing", "twofold.testing.plugin"}
                assert "asgiref" not in sys.modules
            """,
        )
        run(pytester, "test_imports.py", "test_own.py").assert_outcomes(passed=2)


class TestStores:
    """`--twofold-store`: the fixture on any store."""

    BODY = """
        import pytest
        import twofold

        @twofold.cached
        def double(x: int) -> int:
            return 2 * x

        @pytest.mark.parametrize("n", [1, 2])
        def test_isolated(twofold_cache, n):
            assert type(twofold_cache.backend).__name__ == "BACKEND"
            assert twofold.cache.get("k") is None
            assert twofold.cache.set("k", n)
            assert double(n) == double(n) == 2 * n
            assert twofold_cache.stats().computations == 1
        """

    @pytest.mark.parametrize(
        ("store", "backend"),
        [
            ("memory", "MemoryBackend"),
            ("sqlite", "SQLiteBackend"),
            ("files", "FilesBackend"),
        ],
    )
    def test_it_runs_in_the_process_and_on_disk(
        self, pytester: pytest.Pytester, store: str, backend: str
    ) -> None:
        """Each test has a store of its own."""
        pytester.makepyfile(self.BODY.replace("BACKEND", backend))
        run(pytester, f"--twofold-store={store}").assert_outcomes(passed=2)

    def test_it_runs_on_servers(
        self,
        pytester: pytest.Pytester,
        redis_server: RedisServer,
        memcached_server: MemcachedServer,
    ) -> None:
        """Each test has a prefix of its own, and leaves nothing."""
        pytester.makepyfile(self.BODY.replace("BACKEND", "RedisBackend"))
        run(pytester, f"--twofold-store={redis_server.url}").assert_outcomes(passed=2)
        assert redis_server.command("DBSIZE") == 0
        pytester.makepyfile(self.BODY.replace("BACKEND", "MemcachedBackend"))
        url = f"memcached://{memcached_server.address}"
        run(pytester, f"--twofold-store={url}").assert_outcomes(passed=2)
        assert memcached_server.all_keys() == set()

    def test_a_store_that_there_is_not_is_refused_once(self, pytester: pytest.Pytester) -> None:
        """Before any test, by the name of the option."""
        pytester.makepyfile(self.BODY)
        ended = run(pytester, "--twofold-store=rdis")
        assert ended.ret == pytest.ExitCode.USAGE_ERROR
        ended.stderr.fnmatch_lines(["*--twofold-store=rdis: give one of memory, *"])


class TestComputedOnce:
    """`assert_computed_once`."""

    def test_one_computation_passes(self, twofold_cache: Cache) -> None:
        """Of a function, and of a cache."""

        @cached
        def double(x: int) -> int:
            return 2 * x

        with assert_computed_once(double), assert_computed_once(twofold_cache):
            assert (double(1), double(1)) == (2, 2)

    @pytest.mark.parametrize("times", [0, 2])
    def test_others_fail(self, twofold_cache: Cache, times: int) -> None:
        """The error tells how often."""

        @cached
        def double(x: int) -> int:
            return 2 * x

        with (
            pytest.raises(AssertionError, match=f"double was computed {times} times"),
            assert_computed_once(double),
        ):
            list(map(double, range(times)))

    def test_what_cannot_tell_is_refused(self) -> None:
        """A plain function has no count."""
        with pytest.raises(TypeError, match="cached function"), assert_computed_once(len):
            pass


class TestBlockingCallsInMemory:
    """`blocking_calls` where nothing blocks."""

    async def test_a_forgotten_a_is_found(self) -> None:
        """If the settings ask for it, a sync call is refused in a loop, and the twin works."""
        cache = Cache("memory://guarded", options={"blocking_calls": "raise"})

        @cached(cache=cache)
        def plain() -> int:
            return 1

        @cached(cache=cache)
        async def later() -> int:
            return 1

        for call in (lambda: cache.get("k"), lambda: cache.typed(int).get("k"), plain):
            with pytest.raises(BlockingCallInEventLoop, match="await"):
                call()
        assert await cache.aget("k", 1) == 1
        assert await later() == await later() == 1
        assert await later.aget() == 1
        assert await plain.aget() is None
        await cache.aclose()

    async def test_it_may_be_a_warning(self) -> None:
        """The message does not say that memory blocks."""
        cache = Cache("memory://guarded", options={"blocking_calls": "warn"})
        with pytest.warns(BlockingCallWarning, match="would block on other stores"):
            cache.set("k", 1)
        await cache.aclose()

    async def test_it_is_allowed_unless_asked_for(self) -> None:
        """As memory blocks nobody."""
        cache = Cache("memory://unguarded")
        assert cache.set("k", 1)
        await cache.aclose()


class TestSuite:
    """The conformance suite, in the hands of a backend's author."""

    def test_it_finds_what_is_wrong(self, pytester: pytest.Pytester) -> None:
        """Each fault of a backend fails its cases, in both faces, with pytest alone."""
        pytester.makepyfile(dict_backend=Path(dict_backend.__file__).read_text())
        pytester.makepyfile(
            """
            from dict_backend import DictBackend
            from twofold.testing import BackendConformance

            class Faulty(DictBackend):
                def incr(self, key, delta):
                    total = super().incr(key, delta)
                    self.set(key, b"%d" % total, None)
                    return total

                def delete_many(self, keys):
                    super().delete_many(keys)
                    return len(keys)

                def clear(self, prefix):
                    super().clear(prefix.partition("_")[0])

                def compare_and_delete(self, key, expected):
                    return self.delete(key)

            class TestFaulty(BackendConformance):
                def make_backend(self, clock):
                    return Faulty(clock=clock)
            """
        )
        result = run(
            pytester,
            "-k",
            "incr_keeps or many_keys or takes_what_begins or compare_and_delete or add_stores",
        )
        lines = "\n".join(result.outlines)
        for name in (
            "test_incr_keeps_the_life",
            "test_many_keys_at_a_time",
            "test_clear_takes_what_begins_with_the_prefix",
            "test_compare_and_delete",
        ):
            assert f"FAILED test_it_finds_what_is_wrong.py::TestFaulty::{name}[sync]" in lines
            assert f"FAILED test_it_finds_what_is_wrong.py::TestFaulty::{name}[async]" in lines
        result.assert_outcomes(passed=4, failed=8)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run pytest in a process of its own, with the plugin as it is installed."""
    options = ("-q", "-rf", "-W", "error", "-p", "no:randomly", "-p", "no:asyncio")
    return pytester.runpytest_subprocess(*options, *args, timeout=60)
