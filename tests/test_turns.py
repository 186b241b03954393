"""Turns: one computes what many miss, whatever threads and event loops they are in."""

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from tests.chaos.patience import eventually
from twofold.claims.table import Claims
from twofold.claims.turns import LONGEST, Turn, Turns
from twofold.effects import BLOCKING, NATIVE, Blocking, Effects, Ending, run_sync
from twofold.testing import FakeClock

T = TypeVar("T")

THREADS, LOOPS, TASKS = 8, 4, 10


class Shelf:
    """What pages are stored on, and how often each was computed."""

    def __init__(self, turns: Turns | None = None) -> None:
        self.turns = Turns() if turns is None else turns
        self.claims = Claims()
        self.stored: dict[str, str] = {}
        self.looks = 0
        self.computed = 0
        self._lock = threading.Lock()

    def look(self, key: str) -> Callable[[Effects], Coroutine[Any, Any, tuple[str | None, str]]]:
        async def look(io: Effects) -> tuple[str | None, str]:
            self.looks += 1
            return self.stored.get(key), key

        return look

    async def take(
        self, io: Effects, key: str = "k", taken: list[Turn] | None = None
    ) -> tuple[str | None, Turn | None]:
        return await self.turns.find(
            io, self.claims, self.look(key), [] if taken is None else taken
        )

    async def leads(self, io: Effects, key: str = "k") -> Turn:
        """Take a turn that is free."""
        _, turn = await self.take(io, key)
        assert turn is not None
        return turn

    def finish(self, turn: Turn, page: str) -> None:
        """Store what the holder of `turn` has computed, and release it."""
        self.stored[turn.key] = page
        turn.release(shared=True)

    async def page(
        self, io: Effects, key: str = "k", seconds: float = 0.05, shared: bool = True
    ) -> str:
        """Return the page of `key`, as a middleware would."""
        taken: list[Turn] = []
        try:
            found, turn = await self.take(io, key, taken)
            if turn is None:
                assert found is not None
                return found
            with self._lock:
                self.computed += 1
                made = f"{key}{self.computed}"
            await io.sleep(seconds)
            if shared:
                self.stored[key] = made
            turn.release(shared)
            return made
        finally:
            for each in taken:
                each.release()


class Waiting(Blocking):
    """The sync face, with something that happens in the place of a wait."""

    def __init__(self, meanwhile: Callable[[float], Any]) -> None:
        self.meanwhile = meanwhile

    async def wait(self, ending: Ending, seconds: float) -> bool:
        self.meanwhile(seconds)
        return ending.ended


def elsewhere(body: Coroutine[Any, Any, T]) -> T:
    """Run a sync body in another thread, which ends."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run_sync, body).result(20)


def together(ask: Callable[[Effects], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Have threads, and tasks in loops of other threads, all ask at once."""
    gate = threading.Barrier(THREADS + LOOPS)

    def in_thread() -> list[Any]:
        gate.wait()
        return [run_sync(ask(BLOCKING))]

    async def in_loop() -> list[Any]:
        gate.wait()
        return await asyncio.gather(*(ask(NATIVE) for _ in range(TASKS)))

    with ThreadPoolExecutor(THREADS + LOOPS) as pool:
        threads = [pool.submit(in_thread) for _ in range(THREADS)]
        loops = [pool.submit(lambda: asyncio.run(in_loop())) for _ in range(LOOPS)]
        return [each for future in (*threads, *loops) for each in future.result(20)]


def test_one_computes_for_threads_and_loops() -> None:
    """However many ask at once, in whatever threads and loops, one computes."""
    shelf = Shelf()
    pages = together(shelf.page)
    assert len(pages) == THREADS + LOOPS * TASKS
    assert set(pages) == {"k1"}
    assert shelf.computed == 1


def test_what_cannot_be_shared_is_computed_side_by_side() -> None:
    """When the first says that its page is for nobody else, the others do not queue up."""
    shelf = Shelf()
    pages = together(lambda io: shelf.page(io, seconds=0.3, shared=False))
    assert len(set(pages)) == len(pages) == shelf.computed
    eventually(lambda: not shelf.claims.table, "no turn is left")


def test_what_cannot_be_shared_is_remembered_for_a_while() -> None:
    """For some seconds nobody waits for such a page; then one takes a turn again."""
    clock = FakeClock()
    shelf = Shelf(Turns(clock))
    run_sync(shelf.page(BLOCKING, seconds=0, shared=False))
    apart = run_sync(shelf.leads(BLOCKING))
    assert not apart.leads
    apart.release()
    clock.advance(11)
    turn = run_sync(shelf.leads(BLOCKING))
    assert turn.leads
    turn.release(shared=False)
    run_sync(shelf.page(BLOCKING, seconds=0))
    del shelf.stored["k"]
    turn = run_sync(shelf.leads(BLOCKING))
    assert turn.leads  # for it was stored meanwhile
    turn.release()


def test_a_page_that_nobody_shares_costs_one_look() -> None:
    """Once it is known, such a page is looked for once."""
    shelf = Shelf()
    run_sync(shelf.page(BLOCKING, seconds=0, shared=False))
    before = shelf.looks
    run_sync(shelf.page(BLOCKING, seconds=0, shared=False))
    assert shelf.looks == before + 1


def test_memory_of_such_pages_is_bounded() -> None:
    """However many URLs a client invents, a bounded number is remembered."""
    shelf = Shelf()
    for n in range(5000):
        run_sync(shelf.page(BLOCKING, f"k{n}", seconds=0, shared=False))
    assert len(shelf.turns._unshared) == 4096


async def test_without_an_answer_the_next_takes_a_turn() -> None:
    """If the first fails or is cancelled, one of those who wait computes, and the others wait."""
    shelf = Shelf()
    turn = await asyncio.create_task(shelf.leads(NATIVE))
    waiting = [asyncio.create_task(shelf.page(NATIVE)) for _ in range(TASKS)]
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in waiting)
    turn.release()
    assert set(await asyncio.gather(*waiting)) == {"k1"}
    assert shelf.computed == 1


async def test_a_cancelled_request_leaves_nothing() -> None:
    """Who is cancelled while computing releases; who is cancelled while waiting disturbs nobody."""
    shelf = Shelf()
    first = asyncio.create_task(shelf.page(NATIVE, seconds=60))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(shelf.page(NATIVE)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    first.cancel()
    results = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(each) for each in results[:2]] == [asyncio.CancelledError] * 2
    assert results[2:] == ["k2", "k2"]
    assert not shelf.claims.table


async def test_an_error_in_the_second_look_leaves_a_turn_to_release() -> None:
    """A turn that was taken is over if the look after it fails, and what was taken is released."""
    turns, claims = Turns(), Claims()
    taken: list[Turn] = []
    looks = 0

    async def look(io: Effects) -> tuple[str | None, str]:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise asyncio.CancelledError
        return None, "k"

    with pytest.raises(asyncio.CancelledError):
        await turns.find(NATIVE, claims, look, taken)
    assert claims.table
    taken.pop().release()
    assert not claims.table
    assert not taken


async def test_what_was_stored_just_before_is_found() -> None:
    """Between the look and the turn another may have stored: who takes it looks again."""
    shelf = Shelf()
    looks: list[str | None] = [None, "stored"]

    async def look(io: Effects) -> tuple[str | None, str]:
        return looks.pop(0), "k"

    assert await shelf.turns.find(NATIVE, shelf.claims, look, []) == ("stored", None)
    assert not shelf.claims.table


async def test_a_key_may_turn_out_to_be_another() -> None:
    """When the record of what a page varies with appears, the turn is that of the variant."""
    shelf = Shelf()
    looks = ["k", "k~1", "k~1"]

    async def look(io: Effects) -> tuple[str | None, str]:
        return None, looks.pop(0)

    _, turn = await shelf.turns.find(NATIVE, shelf.claims, look, [])
    assert turn is not None
    assert turn.key == "k~1"
    assert list(shelf.claims.table) == ["k~1"]
    turn.release()


async def test_what_was_shared_and_is_not_there_is_computed_apart() -> None:
    """If the store lost it, nobody waits a second time for the same key."""
    shelf = Shelf()
    turn = await asyncio.create_task(shelf.leads(NATIVE))
    waiting = [asyncio.create_task(shelf.take(NATIVE)) for _ in range(3)]
    await asyncio.sleep(0.02)
    turn.release(shared=True)
    taken = await asyncio.gather(*waiting)
    assert [found for found, _ in taken] == [None] * 3
    for _, each in taken:
        assert each is not None
        each.release()
    assert not shelf.claims.table


async def test_the_holder_of_a_turn_waits_for_none() -> None:
    """A request that asks for its own page, or for that of one who asks for its, goes alone."""
    shelf = Shelf()

    async def outer(mine: str, other: str) -> str:
        turn = await shelf.leads(NATIVE, mine)
        try:
            await asyncio.sleep(0.02)
            again = await shelf.page(NATIVE, mine, seconds=0, shared=False)
            return again + await shelf.page(NATIVE, other, seconds=0, shared=False)
        finally:
            turn.release()

    async with asyncio.timeout(LONGEST / 3):
        await asyncio.gather(*(asyncio.create_task(outer(*keys)) for keys in ("ab", "ba")))


def test_a_thread_that_held_a_turn_waits_later() -> None:
    """A turn that is over does not keep the thread's next request from waiting."""
    shelf = Shelf()
    run_sync(shelf.page(BLOCKING, "other", seconds=0))
    turn = elsewhere(shelf.leads(BLOCKING))
    assert run_sync(shelf.page(Waiting(lambda _: shelf.finish(turn, "late")))) == "late"


def test_a_sync_caller_in_a_loop_does_not_wait() -> None:
    """Sync code inside a running loop computes: the loop that it stops may have to go on."""
    shelf = Shelf()

    async def main() -> str:
        task = asyncio.create_task(shelf.page(NATIVE, seconds=0.02))
        await asyncio.sleep(0)
        return run_sync(shelf.page(BLOCKING, seconds=0)) + await task

    assert asyncio.run(main()) == "k2k1"


def test_nor_does_it_wait_for_a_thread() -> None:
    """Not even for one that no loop waits for: every task of its own loop would stand still."""
    shelf = Shelf()
    turn = elsewhere(shelf.leads(BLOCKING))
    waits: list[float] = []

    async def main() -> str:
        return run_sync(shelf.page(Waiting(waits.append), seconds=0))

    assert asyncio.run(main()) == "k1"
    assert not waits
    turn.release()


def test_sync_code_that_serves_a_loop_does_not_wait_for_a_loop() -> None:
    """In asgiref's one thread nobody waits for a loop, which may wait for that thread."""
    shelf = Shelf()

    async def main() -> list[str]:
        async def leader() -> str:
            turn = await shelf.leads(NATIVE)
            try:
                await asyncio.sleep(0.05)  # the thread is taken meanwhile
                return await sync_to_async(lambda: "led")()
            finally:
                turn.release()

        def view() -> str:
            return async_to_sync(sync_to_async(lambda: run_sync(shelf.page(BLOCKING, seconds=0))))()

        led = asyncio.create_task(leader())
        await asyncio.sleep(0.01)
        return await asyncio.gather(led, sync_to_async(view)())

    async def bounded() -> list[str]:
        async with asyncio.timeout(LONGEST / 3):
            return await main()

    assert asyncio.run(bounded()) == ["led", "k1"]


def test_such_sync_callers_share_turns_of_their_own() -> None:
    """While a loop computes, the sync callers that serve loops compute once between them."""
    shelf = Shelf()

    async def main() -> None:
        turn = await asyncio.create_task(shelf.leads(NATIVE))
        ask = sync_to_async(lambda: run_sync(shelf.page(BLOCKING)), thread_sensitive=False)
        assert set(await asyncio.gather(*(ask() for _ in range(4)))) == {"k1"}
        turn.release()

    asyncio.run(main())
    assert not shelf.claims.table


def test_a_turn_has_its_time() -> None:
    """A turn that nobody releases is taken by the next when its time is over."""
    clock = FakeClock()
    shelf = Shelf(Turns(clock))
    lost = elsewhere(shelf.leads(BLOCKING))
    clock.advance(LONGEST)
    turn = run_sync(shelf.leads(BLOCKING))
    assert turn.leads
    lost.release()
    assert list(shelf.claims) == [turn]
    turn.release()


def test_patience_has_an_end() -> None:
    """One caller waits for so long at most, for however many turns; then it computes."""
    clock = FakeClock()
    shelf = Shelf(Turns(clock))
    turns = [elsewhere(shelf.leads(BLOCKING))]
    clock.advance(LONGEST / 2)
    waits: list[float] = []

    def meanwhile(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)
        turns[-1].release()
        turns.append(elsewhere(shelf.leads(BLOCKING)))

    turn = run_sync(shelf.leads(Waiting(meanwhile)))
    assert waits == [LONGEST / 2, LONGEST / 2]
    assert not turn.leads
    for each in (turn, *turns):
        each.release()


def test_a_loop_that_ends_releases_its_turns() -> None:
    """If the leader's loop is closed under it, its coroutine is closed, and the next leads."""
    shelf = Shelf()
    loop = asyncio.new_event_loop()
    task = loop.create_task(shelf.page(NATIVE, seconds=60))
    loop.run_until_complete(asyncio.sleep(0))
    assert shelf.claims.table
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    assert run_sync(shelf.page(BLOCKING, seconds=0)) == "k2"


def test_a_forked_child_has_no_turns() -> None:
    """A child waits for no thread of its parent's."""
    shelf = Shelf()
    turn = run_sync(shelf.leads(BLOCKING))
    pid = os.fork()
    if not pid:
        os._exit(len(shelf.claims.table))
    assert os.waitpid(pid, 0)[1] == 0
    assert shelf.claims.table
    turn.release()


def test_a_turn_that_was_forgotten_keeps_nobody_from_waiting_for_ever() -> None:
    """If a thread did not release, it goes without waiting for as long as the turn has time."""
    clock = FakeClock()
    shelf = Shelf(Turns(clock))
    forgotten = run_sync(shelf.leads(BLOCKING, "forgotten"))
    clock.advance(LONGEST)
    turn = elsewhere(shelf.leads(BLOCKING))
    assert run_sync(shelf.page(Waiting(lambda _: shelf.finish(turn, "late")))) == "late"
    forgotten.release()


def test_a_turn_is_released_once() -> None:
    """The first release counts; a turn shows its state."""
    shelf = Shelf()
    turn = run_sync(shelf.leads(BLOCKING))
    assert (repr(turn), repr(shelf.claims)) == ("<Turn 'k' held waiting=1>", "<Claims ['k']>")
    turn.release(shared=True)
    turn.release(shared=False)
    assert repr(turn) == "<Turn 'k' done waiting=0>"
    assert not shelf.turns._unshared


def test_turns_are_let_go() -> None:
    """Nothing keeps the turns of a cache that is gone."""
    shelf = Shelf()
    run_sync(shelf.page(BLOCKING, seconds=0))
    gone = weakref.ref(shelf.turns)
    run_sync(Shelf().page(BLOCKING, seconds=0))  # the thread forgets turns that are over
    del shelf
    gc.collect()
    assert gone() is None
