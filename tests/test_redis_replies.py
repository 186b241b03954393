"""Redis: replies of another kind than was asked for; scripts that the server does not know."""

import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.chaos import Proxy, RedisServer
from tests.chaos.resp import CommandFailed
from twofold.backends.redis import RedisBackend, replies
from twofold.errors import BackendUnavailable, DeadlineExceeded, MissingKey
from twofold.testing import FACES, Face

VALUE = b"value of k"


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    found: Face = request.param
    return found


@pytest.fixture
def backend(proxy: Proxy) -> Iterator[RedisBackend]:
    """A backend behind the proxy, over a store that holds a counter."""
    made = RedisBackend(proxy.url, deadline=5.0)
    assert made.set_many({"k": VALUE, "n": b"10"}, None) == []
    assert made.incr("n", 0) == 10
    yield made
    made.close()


def test_a_script_that_must_be_sent_whole_runs_once(
    face: Face, backend: RedisBackend, proxy: Proxy, redis_server: RedisServer
) -> None:
    """A script that the server does not know is refused by digest, sent, and not sent twice."""

    async def body() -> None:
        store = face.view(backend)
        assert await store.get("k") == VALUE
        redis_server.command("SCRIPT", "FLUSH")
        assert await store.incr("n", 1) == 11
        redis_server.command("SCRIPT", "FLUSH")
        with pytest.raises(CommandFailed) as unknown:
            redis_server.command("EVALSHA", "0" * 40, 0)
        proxy.cut_after(len(f"-{unknown.value}\r\n") + 1)
        with pytest.raises(BackendUnavailable):
            await store.incr("n", 1)
        assert redis_server.command("GET", "n") == b"12"
        assert await store.incr("n", 1) == 13
        await store.close()

    face.run(body())


class Liar(socketserver.ThreadingTCPServer):
    """A server that gives the same answer to all that comes over a connection."""

    daemon_threads = True
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.said = b""
        self.slots = b""
        """What is answered to a question for slots instead."""
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}"


class Talk(socketserver.BaseRequestHandler):
    server: Liar

    def handle(self) -> None:
        self.server.accepted += 1
        with suppress(OSError):
            while asked := self.request.recv(65536):
                slots = self.server.slots if b"CLUSTER" in asked else b""
                self.request.sendall(slots or self.server.said)


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["hiredis", "ours"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each of the readers read."""
    if request.param == "ours":
        monkeypatch.setattr(replies, "hiredis", None)


ANSWERS = {
    "a number": b":5\r\n",
    "a negative number": b":-5\r\n",
    "a line": b"+QUEUED\r\n",
    "a value": b"$1\r\nx\r\n",
    "nothing": b"$-1\r\n",
    "no array": b"*-1\r\n",
    "an empty array": b"*0\r\n",
    "an array of lines": b"*1\r\n+OK\r\n",
    "an array of numbers": b"*2\r\n:1\r\n:2\r\n",
    "an array of an error": b"*2\r\n-ERR x\r\n$1\r\nx\r\n",
    "nested arrays": b"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n",
    "slots without an address": b"*1\r\n*3\r\n:0\r\n:9\r\n*1\r\n:1\r\n",
    "slots that there are not": b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\nh\r\n:1\r\n",
    "an endless array": b"*400000000\r\n",
    "a map": b"%1\r\n+k\r\n+v\r\n",
    "a map of arrays": b"%1\r\n*0\r\n+v\r\n",
    "a set": b"~1\r\n+k\r\n",
    "a push": b">1\r\n+k\r\n",
    "a double": b",1.5\r\n",
    "a truth": b"#t\r\n",
    "two replies": b"$1\r\nx\r\n$1\r\nx\r\n",
}
TEXTS = {"a line", "a value"}
NONE = {"nothing", "no array"}
Call = Callable[[Any], Awaitable[Any]]
CALLS: dict[str, tuple[Call, set[str]]] = {
    "get": (lambda store: store.get("k"), TEXTS | NONE | {"two replies"}),
    "get_many": (lambda store: store.get_many(["k", "l"]), set()),
    "set": (lambda store: store.set("k", b"v", 60), set()),
    "set_many": (lambda store: store.set_many({"k": b"v"}, 60), set()),
    "add": (lambda store: store.add("k", b"v", 60), TEXTS | NONE | {"two replies"}),
    "touch": (lambda store: store.touch("k", 60), set()),
    "touch for ever": (lambda store: store.touch("k", None), set()),
    "ttl": (lambda store: store.ttl("k"), {"a number"}),
    "delete": (lambda store: store.delete("k"), set()),
    "delete_many": (lambda store: store.delete_many(["k", "l"]), set()),
    "set_and_delete": (lambda store: store.set_and_delete("k", b"v", ["l"]), set()),
    "has": (lambda store: store.has("k"), set()),
    "incr": (lambda store: store.incr("k", 1), NONE),
    "get_or_claim": (
        lambda store: store.get_or_claim("k", b"stub", 60),
        TEXTS | NONE | {"two replies"},
    ),
    "fill": (lambda store: store.fill("k", b"stub", b"v", None), set()),
    "renew": (lambda store: store.renew("k", b"stub", 60), set()),
    "release": (lambda store: store.release("k", b"stub"), set()),
    "compare_and_set": (lambda store: store.compare_and_set("k", b"v", b"w", None), set()),
    "compare_and_delete": (lambda store: store.compare_and_delete("k", b"v"), set()),
    "clear": (lambda store: store.clear(""), set()),
    "clear a prefix": (lambda store: store.clear("p:"), set()),
    "examine": (lambda store: store.examine(), set()),
}


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("name", CALLS)
def test_a_reply_of_another_kind_is_an_outage(name: str, face: Face, liar: Liar) -> None:
    """What cannot be the reply ends its connection; it is no value, and no error of Python's."""
    call, fitting = CALLS[name]

    async def body() -> None:
        for kind in ANSWERS.keys() - fitting:
            liar.said, liar.accepted = ANSWERS[kind], 0
            store = face.view(backend := RedisBackend(liar.url, deadline=5.0))
            with pytest.raises(BackendUnavailable) as caught:
                await call(store)
            assert not isinstance(caught.value, DeadlineExceeded), kind
            with pytest.raises(BackendUnavailable):
                await call(store)
            assert liar.accepted > 1 or backend.servers()[0].breaker != "closed"
            await store.close()

    face.run(body())


@pytest.mark.parametrize("name", CALLS)
def test_a_reply_that_fits_is_taken(name: str, face: Face, liar: Liar) -> None:
    """An answer of the right kind is one, whoever gave it."""
    call, fitting = CALLS[name]

    async def body() -> None:
        for kind in fitting - {"two replies"}:
            liar.said, liar.accepted = ANSWERS[kind], 0
            store = face.view(RedisBackend(liar.url, deadline=5.0))
            for _ in range(2):
                with suppress(MissingKey):
                    await call(store)
            assert liar.accepted == 1
            await store.close()

    face.run(body())


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("", {"cluster": True}),
        ("/1", {}),
        ("", {"password": "secret"}),
        ("", {"sentinel": "service"}),
    ],
    ids=["cluster", "database", "password", "sentinel"],
)
def test_a_greeting_of_another_kind_is_an_outage(
    path: str, options: dict[str, Any], face: Face, liar: Liar
) -> None:
    """So is what is no answer to a login, a sentinel's question or one for the slots."""

    async def body() -> None:
        for said in ANSWERS.values():
            liar.said = said
            store = face.view(RedisBackend(liar.url + path, deadline=5.0, **options))
            with pytest.raises(BackendUnavailable) as caught:
                await store.get("k")
            assert not isinstance(caught.value, DeadlineExceeded)
            assert "secret" not in str(caught.value)
            await store.close()

    face.run(body())


@pytest.mark.parametrize("named", ["", "3999", "3999 h", "3999 h:x", "3999 h:99999999", "3 \x1b:1"])
def test_a_redirection_to_nowhere_is_a_refusal(named: str, face: Face, liar: Liar) -> None:
    """A cluster that names no address in a redirection has refused the command."""
    port = liar.server_address[1]
    liar.slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port
    liar.said = f"-MOVED {named}\r\n".encode()

    async def body() -> None:
        store = face.view(RedisBackend(liar.url, deadline=5.0, cluster=True))
        with pytest.raises(BackendUnavailable, match="refused: MOVED"):
            await store.get("k")
        await store.close()

    face.run(body())


@pytest.mark.parametrize("cursor", [b"7", b"0007"])
def test_a_walk_that_comes_to_no_end_is_given_up(cursor: bytes, face: Face, liar: Liar) -> None:
    """A server that names the same cursor again would have `clear` ask it for ever."""
    liar.said = b"*2\r\n$%d\r\n%b\r\n*0\r\n" % (len(cursor), cursor)

    async def body() -> None:
        store = face.view(RedisBackend(liar.url, deadline=5.0))
        with pytest.raises(BackendUnavailable, match="did not come to the end of its keys"):
            await store.clear("p:")
        await store.close()

    face.run(body())
