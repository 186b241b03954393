"""Redis: scripts that the server does not know run once, whatever becomes of the replies."""

from collections.abc import Iterator

import pytest

from tests.chaos import Proxy, RedisServer
from twofold.backends.redis import RedisBackend
from twofold.errors import BackendUnavailable
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
        proxy.cut_after(len("-NOSCRIPT No matching script. Please use EVAL.\r\n") + 1)
        with pytest.raises(BackendUnavailable):
            await store.incr("n", 1)
        assert redis_server.command("GET", "n") == b"12"
        assert await store.incr("n", 1) == 13
        await store.close()

    face.run(body())
