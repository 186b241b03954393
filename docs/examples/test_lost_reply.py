# docs/examples/test_lost_reply.py
import pytest

from twofold import BackendUnavailable
from twofold.backends.redis import RedisBackend
from twofold.testing import FACES

pytest_plugins = ["tests.chaos.fixtures"]  # tests/ has it from conftest.py


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_write_is_not_sent_twice(face, proxy, redis_server):
    """An `add` whose reply is lost is an error, not a False, and was done."""
    backend = RedisBackend(proxy.url)

    async def body():
        view = face.view(backend)
        assert await view.get("k") is None
        proxy.lose_reply()
        with pytest.raises(BackendUnavailable):
            await view.add("k", b"mine", None)
        assert redis_server.command("GET", "k") == b"mine"

    face.run(body())
    backend.close()
