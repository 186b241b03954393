"""A sync-only store in its inherited async face, beside one `sync_to_async` a call."""

from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import sync_to_async

from tests.benchmarks.harness import KEYS, VALUE, Bench, Client, aeach, expect, together
from twofold.backend import Backend, Stored

AREA = "hop"


class DictBackend(Backend):
    """Has only what is read here of a store; each call is so short that the hop counts."""

    def __init__(self) -> None:
        super().__init__()
        self._items = dict.fromkeys(KEYS, VALUE)

    def get(self, key: str) -> Stored | None:
        return self._items.get(key)

    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        raise NotImplementedError

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        raise NotImplementedError

    def touch(self, key: str, ttl: float | None) -> bool:
        raise NotImplementedError

    def ttl(self, key: str) -> float | None:
        raise NotImplementedError

    def delete(self, key: str) -> bool:
        raise NotImplementedError

    def incr(self, key: str, delta: int) -> int:
        raise NotImplementedError

    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        raise NotImplementedError

    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        raise NotImplementedError

    def clear(self, prefix: str) -> None:
        raise NotImplementedError


def run(bench: Bench) -> None:
    """Compare one task and a hundred."""
    backend = DictBackend()
    with ThreadPoolExecutor(backend.workers) as executor:
        pooled = sync_to_async(backend.get, thread_sensitive=False, executor=executor)
        sensitive = sync_to_async(backend.get)
        for function in (backend.aget, pooled, sensitive):
            expect(bench.run(function(KEYS[0])))
        bench.race(
            AREA,
            "1 task",
            [
                Client("twofold", aeach(backend.aget)),
                Client("sync_to_async, own threads", aeach(pooled)),
                Client("sync_to_async, thread sensitive", aeach(sensitive)),
            ],
        )
        bench.race(
            AREA,
            "100 tasks",
            [
                Client("twofold", together(backend.aget)),
                Client("sync_to_async, own threads", together(pooled), target=6),
                Client("sync_to_async, thread sensitive", together(sensitive), target=6),
            ],
        )
    backend.close()
