"""The store that keeps nothing: for tests, and to switch an alias off by its settings."""

from typing import Any

from twofold.backend import InlineBackend
from twofold.errors import MissingKey


class DummyBackend(InlineBackend):
    """Accept every write, keep none; every read is a miss, and every lock is free.

    A lock is given and taken back, so that code with locks runs; it excludes no other holder.
    """

    private = True
    tells_metadata = True

    def get(self, key: str) -> None:
        return None

    def set(self, key: str, value: Any, ttl: float | None) -> bool:
        return True

    def add(self, key: str, value: Any, ttl: float | None) -> bool:
        return True

    def touch(self, key: str, ttl: float | None) -> bool:
        return False

    def ttl(self, key: str) -> float:
        return 0.0

    def delete(self, key: str) -> bool:
        return False

    def incr(self, key: str, delta: int) -> int:
        raise MissingKey(f"no counter {key!r} to add to: the dummy store keeps nothing")

    def compare_and_set(self, key: str, expected: Any, value: Any, ttl: float | None) -> bool:
        return False

    def compare_and_delete(self, key: str, expected: Any) -> bool:
        return True

    def clear(self, prefix: str) -> None:
        pass
