"""Names that other libraries have, and addresses that are almost URLs, are answered with ours."""

import re
from typing import Any

import pytest

from twofold import Cache, SettingsError, cache, cached


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: cached(ttl=60), "timeout="),
        (lambda: cached(expire=60), "timeout="),
        (lambda: cached(maxsize=60), "OPTIONS['max_entries']"),
        (lambda: Cache("memory://", ttl=5), "did you mean 'timeout'?"),
        (lambda: Cache("memory://", expire=5), "did you mean 'timeout'?"),
        (lambda: Cache("memory://", namespace="a"), "did you mean 'key_prefix'?"),
        (lambda: Cache("memory://", options={"maxsize": 5}), "did you mean 'max_entries'?"),
        (lambda: Cache("mem://"), "did you mean 'memory'?"),
        (lambda: Cache("redis:localhost"), "did you mean 'redis://localhost'?"),
        (lambda: Cache("redis:/localhost:6379/0"), "did you mean 'redis://localhost:6379/0'?"),
        (lambda: Cache("localhost:6379"), "did you mean 'redis://localhost:6379'?"),
        (lambda: cache.get_or_set("k", dict, ttl=5), "did you mean 'timeout'?"),
        (lambda: cache.get_or_set("k", dict, expiration_time=5), "did you mean 'timeout'?"),
    ],
)
def test_a_near_miss_is_answered_with_our_name(call: Any, answer: str) -> None:
    """The message says what to write."""
    with pytest.raises(SettingsError, match=re.escape(answer)):
        call()


def test_valkey_is_redis() -> None:
    """Its scheme is one of ours."""
    assert type(Cache("valkey://localhost").backend).__name__ == "RedisBackend"


@pytest.mark.parametrize("location", ["shop", "not an address", ""])
def test_what_is_no_address_is_answered_without_a_guess(location: str) -> None:
    """A wrong guess is worse than none."""
    with pytest.raises(SettingsError) as refused:
        Cache(location)
    assert "did you mean" not in str(refused.value)
