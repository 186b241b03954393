"""memcached: what is no reply to the question is an error or asked again, never a value."""

import socket
import socketserver
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.chaos import MemcachedServer, Proxy, Stalls, eventually, healthy
from tests.chaos.fixtures import MakeProxy
from tests.memcached_text import VERSION, CommandReader, answer
from tests.network_raw import value_of
from twofold import counter
from twofold.backends.memcached import MemcachedBackend, cas
from twofold.backends.network import INCOMPLETE
from twofold.counter import HIGHEST, LOWEST
from twofold.errors import BackendUnavailable, CounterOverflow
from twofold.testing import FACES, Face

Call = Callable[[Any], Awaitable[Any]]

DEADLINE = 0.2  # seconds, where one is to pass
TOLD_WITHIN = 0.1  # seconds after it
PATIENT = 1.0  # a deadline that a server keeps that goes on, on a busy machine
MOST = 5  # times that a call is sent
TRIES = 16  # of what compares, while others write
BIG = b"v" * 1000  # of which the server must tell whether it has room


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    found: Face = request.param
    return found


class Liar(socketserver.ThreadingTCPServer):
    """A memcached that gives some commands another answer than they should have."""

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.lies: dict[bytes, list[bytes]] = {}
        """What is answered to a verb, one after the other."""
        self.always: dict[bytes, bytes] = {}
        """What is answered to it else, instead of what it should have."""
        self.asked: list[list[bytes]] = []
        self.last_words: bytes | None = None
        """What it falls silent after, though the connection stays open."""
        self.pause = 0.0
        """Seconds before each key that it names."""
        self.ended = 0
        """Connections that clients have closed."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def reply(self, command: list[bytes]) -> bytes:
        """Return what is answered to a command."""
        self.asked.append(command)
        if lies := self.lies.get(command[0]):
            return lies.pop(0)
        return self.always[command[0]] if command[0] in self.always else answer(command)

    def asked_for(self, verb: bytes) -> int:
        """Return how often it was given a command."""
        return [command[0] for command in self.asked].count(verb)


class Talk(socketserver.BaseRequestHandler):
    server: Liar

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, silent = CommandReader(), False
        with suppress(OSError):
            while data := self.request.recv(65536):
                if silent:
                    continue
                reader.feed(data)
                said = b"".join(map(self.server.reply, iter(reader.gets, INCOMPLETE)))
                self._say(said)
                silent = said == self.server.last_words
        self.server.ended += 1

    def _say(self, words: bytes) -> None:
        for line in words.splitlines(keepends=True) if b"key=" in words else [words]:
            time.sleep(self.server.pause if line.startswith(b"key=") else 0)
            self.request.sendall(line)


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Asked(NamedTuple):
    """A call, what the liar gives it if it does not lie, and the verbs that it sends."""

    call: Call
    right: Any
    verbs: tuple[bytes, ...]


VALUE = value_of("k")
CALLS = {
    "get": Asked(lambda store: store.get("k"), VALUE, (b"get",)),
    "get_many": Asked(
        lambda store: store.get_many(["k", "absent", "l"]),
        {"k": VALUE, "l": value_of("l")},
        (b"get",),
    ),
    "has": Asked(lambda store: store.has("k"), True, (b"mg",)),
    "ttl": Asked(lambda store: store.ttl("k"), None, (b"mg",)),
    "look": Asked(lambda store: store.look("k"), (VALUE, None), (b"mg",)),
    "look_many": Asked(
        lambda store: store.look_many(["k", "absent"]), {"k": (VALUE, None)}, (b"mg",)
    ),
    "set": Asked(lambda store: store.set("k", b"v", 60), True, (b"set",)),
    "set of much": Asked(lambda store: store.set("k", BIG, 60), True, (b"stats", b"set")),
    "add": Asked(lambda store: store.add("absent", b"v", 60), True, (b"add",)),
    "touch": Asked(lambda store: store.touch("k", 60), True, (b"mg T",)),
    "delete": Asked(lambda store: store.delete("k"), True, (b"delete",)),
    "incr": Asked(lambda store: store.incr("k", 1), 11, (b"incr",)),
    "compare_and_set": Asked(
        lambda store: store.compare_and_set("k", VALUE, b"v", 60), True, (b"gets", b"cas")
    ),
    "replace": Asked(lambda store: store.replace("k", VALUE, b"v"), True, (b"gets", b"mg", b"cas")),
    "compare_and_delete": Asked(
        lambda store: store.compare_and_delete("k", VALUE), True, (b"gets", b"cas")
    ),
    "incr of text": Asked(lambda store: store.incr("k", 1), -4, (b"gets", b"mg", b"cas")),
    "set_many": Asked(lambda store: store.set_many({"k": b"v", "l": b"v"}, 60), [], (b"set",)),
    "delete_many": Asked(lambda store: store.delete_many(["k", "l"]), 2, (b"delete",)),
    "clear": Asked(lambda store: store.clear("k"), None, (b"lru_crawler", b"delete")),
    "clear of all": Asked(lambda store: store.clear(""), None, (b"flush_all",)),
}
ASKED_AGAIN = (b"get", b"gets", b"mg", b"stats")

LINES = [
    b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"TOUCHED", b"DELETED", b"12", b"-12",
    b"12 12", b"HD", b"HD t", b"HD tx", b"EN", b"OK", b"VERSION 1.6.18", b"MN", b"BUSY x", b"VA 5",
    b"", b"$-1", b"RESET", b"END ", b" END", b"VALUE", b"\0",
]  # fmt: skip
STORED = {b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND"}
FITTING = {
    b"set": STORED,
    b"add": STORED,
    b"cas": STORED,
    b"delete": {b"DELETED", b"NOT_FOUND"},
    b"incr": {b"12", b"NOT_FOUND"},
    b"mg": {b"EN"},
    b"mg T": {b"EN"},
    b"flush_all": {b"OK"},
    b"lru_crawler": {b"BUSY x", b"OK"},  # after which the keys may come: see Silence
}
WRONG = b"VALUE other 0 5\r\nWRONG\r\n"
MINE = b"VALUE k 0 5\r\nWRONG\r\n"
OTHERS = {
    "another's value": WRONG + b"END\r\n",
    "another's value, unique": b"VALUE other 0 5 7\r\nWRONG\r\nEND\r\n",
    "mine and another's": MINE + WRONG + b"END\r\n",
    "one in upper case": b"VALUE K 0 5\r\nWRONG\r\nEND\r\n",
    "values and statistics": MINE + b"STAT a b\r\nEND\r\n",
    "values and a line": MINE + b"STORED\r\n",
    "statistics and a line": b"STAT a b\r\nSTORED\r\n",
    "keys and a line": b"key=k exp=-1\nDELETED\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no size": b"VALUE k 0\r\nWRONG\r\nEND\r\n",
    "a negative size": b"VALUE k 0 -5\r\nWRONG\r\nEND\r\n",
    "an odd size": b"VALUE k 0 x\r\nWRONG\r\nEND\r\n",
    "a huge size": b"VALUE k 0 99999999999999999999\r\nWRONG\r\nEND\r\n",
    "a size too small": b"VALUE k 0 3\r\nWRONG\r\nEND\r\n",
    "a size with a sign": b"VALUE k 0 +5\r\nWRONG\r\nEND\r\n",
    "odd flags": b"VALUE k x 5\r\nWRONG\r\nEND\r\n",
    "a key of no characters": b"VALUE  0 5\r\nWRONG\r\nEND\r\n",
    "a line without end": b"x" * 70_000,
}
LISTED = {b"stats", b"lru_crawler"}


def lies_to(verb: bytes) -> list[bytes]:
    """Return all that is no answer to a command."""
    lines = [line + b"\r\n" for line in LINES if line not in FITTING.get(verb, ())]
    lists = [] if verb in LISTED else [b"STAT item_size_max 5\r\nEND\r\n", b"key=k la=1\nEND\r\n"]
    if verb not in (*LISTED, b"get", b"gets"):
        lists.append(b"END\r\n")
    return lines + lists + [*OTHERS.values()]


NO_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
TEXT = {b"incr": NO_NUMBER, b"gets": b"VALUE k 0 2 7\r\n-5\r\nEND\r\n"}
"""The replies to an `incr` of a number that the server takes for text."""


@pytest.mark.parametrize("name", CALLS)
def test_no_reply_to_something_else_is_taken(name: str, face: Face, liar: Liar) -> None:
    """Its connection is closed; reads are asked again, writers told, and the next call is right."""
    asked = CALLS[name]
    liar.always = TEXT if name == "incr of text" else {}

    async def lie_to(store: Any, verb: bytes, lie: bytes) -> None:
        if verb == b"stats":
            await store.close()
            assert await store.get("k") == VALUE  # of a new connection it is asked anew
        lies = [lie]
        liar.lies = {verb.split()[0]: lies}
        try:
            found = await asked.call(store)
        except BackendUnavailable:
            assert verb not in ASKED_AGAIN
        else:
            assert verb in ASKED_AGAIN
            assert found == asked.right
        assert not lies
        assert await store.get("k") == VALUE
        assert await store.delete("absent") is False

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=10.0))
        assert await store.get("k") == VALUE  # now the server's version is known
        assert await asked.call(store) == asked.right
        told = [(verb, lie) for verb in asked.verbs for lie in lies_to(verb)]
        for verb, lie in told:
            await lie_to(store, verb, lie)
        eventually(lambda: liar.ended >= len(told), "each time the connection is closed")
        await store.close()

    face.run(body())


@pytest.mark.parametrize("name", ["get", "get_many", "has", "ttl", "look"])
def test_a_server_that_only_lies_is_an_outage(name: str, face: Face, liar: Liar) -> None:
    """What is asked again is so a few times, and then it fails."""
    asked = CALLS[name]

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=10.0))
        assert await store.get("k") == VALUE
        assert await asked.call(store) == asked.right  # by now it is known for no proxy
        liar.asked.clear()
        [verb] = {verb.split()[0] for verb in asked.verbs}
        liar.always = {verb: OTHERS["another's value"]}
        with pytest.raises(BackendUnavailable):
            await asked.call(store)
        assert 1 < liar.asked_for(verb) <= MOST
        await store.close()

    face.run(body())


REFUSALS = [
    b"ERROR\r\n",
    b"CLIENT_ERROR bad command line format\r\n",
    b"SERVER_ERROR out of memory writing get response\r\n",
    MINE + b"SERVER_ERROR out of memory writing get response\r\n",
    b"STAT a b\r\nSERVER_ERROR out of memory\r\n",
]


@pytest.mark.parametrize("name", sorted({*CALLS} - {"set", "set of much", "set_many"}))
def test_a_refusal_is_told(name: str, face: Face, liar: Liar) -> None:
    """It is no value, even amid one; the connection stays, and the next call is right."""
    asked = CALLS[name]
    liar.always = TEXT if name == "incr of text" else {}

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=10.0))
        assert await store.has("k") is True  # by now it is known for no proxy
        for verb in [each.split()[0] for each in asked.verbs]:
            for refusal in REFUSALS:
                liar.lies = {verb: [refusal]}
                with pytest.raises(BackendUnavailable):
                    await asked.call(store)
                assert await store.get("k") == VALUE
                assert await store.delete("absent") is False
        assert liar.ended == 0 or name.startswith("clear")  # which looks for what is wrong
        await store.close()

    face.run(body())


EXTRA = [b"STORED", b"12", b"END", b"DELETED", b"VALUE k 0 5\r\nWRONG\r\nEND", b"x", b"\0"]


@pytest.mark.parametrize("name", ["get", "set", "incr", "set_many"])
@pytest.mark.parametrize("extra", EXTRA)
def test_what_comes_with_a_reply_is_nobodys(
    extra: bytes, name: str, face: Face, liar: Liar
) -> None:
    """A reply too many ends its connection, and the next calls have their own replies."""
    asked = CALLS[name]
    [verb] = asked.verbs

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=10.0))
        assert await store.get("k") == VALUE
        for times, last in enumerate([extra, extra + b"\r\n"], 1):
            with_more = answer([verb, b"k"]) + last
            liar.lies = {verb: [answer([verb, b"l"]), with_more] if name[3:] else [with_more]}
            with suppress(BackendUnavailable):
                assert await asked.call(store) == asked.right
            assert await store.incr("k", 1) == 11
            assert await store.get("k") == VALUE
            assert await store.add("k", b"v", 60) is False
            eventually(
                lambda times=times: liar.ended >= times, "each time the connection is closed"
            )
        await store.close()

    face.run(body())


# Silence


PARTS = [b"VALUE k 0 10", MINE, b"VALUE k 0 1073741824\r\nWRONG"]


@pytest.mark.parametrize("part", PARTS)
def test_a_reply_that_does_not_end_in_time(
    part: bytes, face: Face, liar: Liar, stalls: Stalls
) -> None:
    """Who waits for the rest is told so at the deadline, and what comes late is nobody's."""

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=DEADLINE))
        assert await healthy(lambda: store.get("k")) == VALUE
        liar.lies, liar.last_words = {b"get": [part]}, part
        seconds = await seconds_of(store.get("k"))
        assert 0.9 * DEADLINE <= seconds <= DEADLINE + TOLD_WITHIN + stalls.longest
        assert await healthy(lambda: store.get("k")) == VALUE
        assert await healthy(lambda: store.incr("k", 1)) == 11
        await store.close()

    face.run(body())


async def seconds_of(call: Awaitable[Any]) -> float:
    """Make a call that fails as an outage does, and return how long that took."""
    started = time.monotonic()
    with pytest.raises(BackendUnavailable):
        await call
    return time.monotonic() - started


KEYS_TOLD = b"".join(b"key=k%d exp=-1 la=1\n" % n for n in range(8))


def test_a_walk_that_takes_its_time(face: Face, liar: Liar) -> None:
    """A server may take longer than the deadline to name its keys, as long as it goes on."""

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=PATIENT))
        assert await store.get("k") == VALUE
        liar.always, liar.pause = {b"lru_crawler": KEYS_TOLD + b"END\r\n"}, PATIENT / 6
        await store.clear("k")
        assert liar.asked_for(b"delete") == 8
        await store.close()

    face.run(body())


@pytest.mark.parametrize("words", [b"", KEYS_TOLD], ids=["at once", "after some keys"])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_walk_that_falls_silent(
    words: bytes, warm: bool, face: Face, liar: Liar, stalls: Stalls
) -> None:
    """It ends at the deadline, and what is asked beside it and after it is right."""

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=DEADLINE))
        if warm:
            assert await healthy(lambda: store.get("k")) == VALUE
        liar.always, liar.last_words = {b"lru_crawler": words}, words
        ends = time.monotonic() + 10
        while not liar.asked_for(b"lru_crawler"):  # a busy machine may be late to connect
            assert time.monotonic() < ends
            seconds = await seconds_of(store.clear("k"))
        assert 0.9 * DEADLINE <= seconds <= DEADLINE + TOLD_WITHIN + stalls.longest
        assert await healthy(lambda: store.get("k")) == VALUE
        assert liar.asked_for(b"delete") == 0
        await store.close()

    face.run(body())


@pytest.mark.parametrize("name", ["get", "set_many", "set of much", "clear", "clear of all"])
def test_a_server_that_never_says_a_word(name: str, face: Face, liar: Liar, stalls: Stalls) -> None:
    """No call waits for longer than the deadline to be connected, whatever it may take later."""

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=DEADLINE))
        liar.always = {b"version": b""}
        seconds = await seconds_of(CALLS[name].call(store))
        assert seconds <= DEADLINE + TOLD_WITHIN + stalls.longest
        await store.close()

    face.run(body())


# Connecting


GREETINGS = [
    b"ERROR\r\n",
    b"STORED\r\n",
    b"VERSIO 1\r\n",
    WRONG,
    b"\r\n",
    b"\0\r\n",
    b"SSH-2.0\r\n",
]


@pytest.mark.parametrize("greeting", GREETINGS)
def test_a_server_that_is_no_memcached(greeting: bytes, face: Face, liar: Liar) -> None:
    """Nothing is asked of it, and that it cannot be reached is told."""

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=10.0))
        liar.always = {b"version": greeting}
        for name in ("get", "set", "incr", "set_many", "delete_many"):
            with pytest.raises(BackendUnavailable, match=r"cannot be reached|is not asked"):
                await CALLS[name].call(store)
        assert {command[0] for command in liar.asked} == {b"version"}
        liar.always.clear()
        while True:  # the breaker closes in a moment
            with suppress(BackendUnavailable):
                assert await store.get("k") == VALUE
                break
        await store.close()

    face.run(body())


def test_a_cut_while_logging_in(tmp_path: Path, face: Face, proxied: MakeProxy) -> None:
    """A connection that is lost before it is logged in is never used."""

    async def body(proxy: Proxy) -> None:
        location = f"memcached://user:secret@{proxy.address}"
        for place in range(len(b"STORED\r\n" + VERSION)):
            store = face.view(MemcachedBackend(location, deadline=10.0))
            proxy.cut_after(place)
            with pytest.raises(BackendUnavailable, match="cannot be reached"):
                await store.get("k")
            await store.close()
            again = face.view(MemcachedBackend(location, deadline=10.0))
            assert await again.get("k") is None
            assert await again.set("l", VALUE, 60)
            assert await again.get("l") == VALUE
            await again.close()

    with MemcachedServer(tmp_path / "own", login="user:secret") as server:
        face.run(body(proxied(server)))


# In two steps


@pytest.mark.parametrize("name", ["compare_and_set", "compare_and_delete", "incr of text"])
def test_a_value_that_others_change_all_the_time(
    name: str, face: Face, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing is tried again while there is time, and then fails as an outage does."""
    asked = CALLS[name]
    monkeypatch.setattr(cas, "pauses", lambda _: [0.0] * TRIES)

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=10.0))
        liar.always = TEXT | {b"cas": b"EXISTS\r\n"} if "text" in name else {b"cas": b"EXISTS\r\n"}
        with pytest.raises(BackendUnavailable, match="failed again and again"):
            await asked.call(store)
        assert liar.asked_for(b"cas") == TRIES
        liar.always[b"cas"] = b"STORED\r\n"
        liar.lies = {b"cas": [b"EXISTS\r\n"] * (TRIES - 1)}
        assert await asked.call(store) == asked.right
        assert liar.asked_for(b"cas") == 2 * TRIES
        await store.close()

    face.run(body())


def put_counter(server: MemcachedServer, number: int, after: bytes) -> None:
    """Store another program's counter `n`, where `after` is what is behind it in memory."""
    digits = b"%d" % (number % 2**64)
    before = b"set n 0 0 34\r\n%b\r\ndelete n\r\n" % (after * 34)  # leaves its place to the next
    told = server.command(before + b"set n 0 0 %d\r\n%b\r\n" % (len(digits), digits))
    assert told == b"STORED\r\nDELETED\r\nSTORED\r\n"


@pytest.mark.parametrize(("number", "delta"), [(HIGHEST, 1), (LOWEST, -1)])
def test_a_sum_that_is_taken_back_and_the_reply_is_lost(
    number: int, delta: int, face: Face, memcached_server: MemcachedServer, proxied: MakeProxy
) -> None:
    """Another program's counter is taken back once at most; the caller is told he cannot know."""
    proxy = proxied(memcached_server)
    first, second = [b"%d\r\n" % (each % 2**64) for each in (number + delta, number)]
    before, beyond = counter.write(number), counter.write(-1 - number)

    def put() -> None:
        put_counter(memcached_server, number, b"1")

    async def body() -> None:
        store = face.view(MemcachedBackend(proxy.address, deadline=10.0))
        put()
        with pytest.raises(CounterOverflow):
            await store.incr("n", delta)
        assert await store.get("n") == before
        for place in range(len(first), len(first + second)):
            proxy.cut_after(place)
            with pytest.raises(BackendUnavailable):
                await store.incr("n", delta)
            found = await store.get("n")
            assert found == before or (found == beyond and place == len(first))
            put()
        await store.close()

    face.run(body())


@pytest.mark.parametrize(("number", "delta"), [(HIGHEST, 1), (LOWEST, -1)])
def test_a_sum_that_the_server_takes_for_no_number_is_taken_back(
    number: int, delta: int, face: Face, memcached_server: MemcachedServer
) -> None:
    """One from 2**63 on is none to it where a minus is left behind it in its memory."""
    put_counter(memcached_server, number, b"-")

    async def body() -> None:
        store = face.view(MemcachedBackend(memcached_server.address, deadline=10.0))
        with pytest.raises(CounterOverflow):
            await store.incr("n", delta)
        assert await store.get("n") == counter.write(number)
        await store.close()

    face.run(body())


class Narrow(Liar):
    """A proxy that closes the connection on commands that it does not know, as twemproxy does."""

    def reply(self, command: list[bytes]) -> bytes:
        unknown = command[0] in (b"mg", b"stats", b"flush_all", b"lru_crawler")
        if unknown or (command[0] == b"cas" and command[3].startswith(b"-")):
            self.asked.append(command)
            raise ConnectionResetError
        return super().reply(command)


@pytest.fixture
def narrow() -> Iterator[Narrow]:
    with Narrow() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_proxy_is_found_out_once(face: Face, narrow: Narrow) -> None:
    """Where a proxy lets few commands through, others do for it, and its breaker stays closed."""

    async def body() -> None:
        store = face.view(backend := MemcachedBackend(narrow.address, deadline=5.0))
        assert await store.get("k") == VALUE
        assert await store.has("k") is True
        tested = narrow.asked_for(b"mg")
        assert await store.set("k", BIG, 60) is True
        assert await store.set_many({"k": BIG, "l": BIG}, 60) == []
        assert await store.has("absent") is False
        assert await store.look("k") == (VALUE, 0.0)
        assert await store.look_many(["k", "absent"]) == {"k": (VALUE, 0.0)}
        assert await store.compare_and_delete("k", VALUE) is True
        with pytest.raises(BackendUnavailable, match="a proxy stands before memcached"):
            await store.ttl("k")
        assert (tested, narrow.asked_for(b"mg"), narrow.asked_for(b"stats")) == (2, 2, 0)
        assert backend.servers()[0].breaker == "closed"
        [examined] = await store.examine()
        assert "seems to be a proxy" in examined.warnings[0]
        await store.close()

    face.run(body())


def test_a_large_value_finds_a_proxy_out(face: Face, narrow: Narrow) -> None:
    """The question for the largest item tells as well that a proxy is in the way."""

    async def body() -> None:
        store = face.view(backend := MemcachedBackend(narrow.address, deadline=5.0))
        assert await store.set("k", BIG, 60) is True
        assert await store.has("k") is True
        assert narrow.asked_for(b"mg") == 0
        assert backend.servers()[0].breaker == "closed"
        await store.close()

    face.run(body())


def test_an_outage_is_no_proxy(face: Face, proxied: MakeProxy, own_memcached: Any) -> None:
    """A server that fails while it is asked for the first time is not taken for a proxy."""
    proxy = proxied(own_memcached)

    async def body() -> None:
        store = face.view(MemcachedBackend(proxy.address, deadline=5.0))
        assert await store.set("k", b"v", 60)
        proxy.cut_after(0)
        assert await store.has("k") is True
        assert 30 < await store.ttl("k") <= 61
        await store.close()

    face.run(body())


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_list_of_keys_that_is_announced(face: Face, liar: Liar, pieces: int) -> None:
    """From 1.6.43 on memcached says OK before the list, in the same segment or in one before."""
    words = b"key=p:a exp=-1 la=1 cas=1 fetch=no cls=1 size=60\nkey=q exp=-1\nEND\r\n"
    liar.always[b"lru_crawler"] = b"OK\r\n" + words
    if pieces == 2:
        liar.pause = 0.02

    async def body() -> None:
        store = face.view(MemcachedBackend(liar.address, deadline=5.0))
        await store.clear("p:")
        assert [each for each in liar.asked if each[0] == b"delete"] == [[b"delete", b"p:a"]]
        await store.clear("")
        assert await store.get("k") == VALUE
        await store.close()

    face.run(body())
