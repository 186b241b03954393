"""Short lives in Redis, whose clock is its own: tests end them, and wait for nothing."""

from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

import pytest
from redis import ReadOnlyError, Redis

from tests.chaos import RedisServer


class RedisLives:
    """What a class of cases has before it, whose short lives are to end when it says so."""

    life: ClassVar[float] = 30.0  # one of a moment could end before the next call

    @pytest.fixture
    def urls(self, redis_server: RedisServer) -> list[str]:
        """Return where the keys are."""
        return [redis_server.url]

    @pytest.fixture
    def outlive(self, urls: list[str]) -> Callable[[], None]:
        """Return a function that removes what the servers would within a short life."""

        def end() -> None:
            for url in urls:
                with Redis.from_url(url) as client, suppress(ReadOnlyError):  # a replica
                    for key in client.scan_iter():
                        if 0 < client.pttl(key) <= (self.life + 2) * 1000:
                            client.unlink(key)

        return end
