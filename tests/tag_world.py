"""One of several processes that read and invalidate, against one truth: `URL SEED ROUNDS`.

The truth are counters in the store, beside the cache's prefix. Who changes a value raises the first
one of its key, invalidates, and raises the second one up to that. A read that begins once the
second one has a number may bring nothing below it. Prints what was older, a line for each.
"""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twofold import Cache

KEYS = ["a", "b", "c"]
LIFE = 1000
READERS, WRITERS = 3, 1


class Truth:
    """What each key stands for now, and what everybody must know of by now."""

    def __init__(self, url: str) -> None:
        self._cache = Cache(url, key_prefix="truth", options=OPTIONS)

    def close(self) -> None:
        """Let go of the connections."""
        self._cache.close()

    def now(self, key: str) -> int:
        """Return what a function would read."""
        return int(self._cache.get(f"now:{key}", 0))

    def settled(self, key: str) -> int:
        """Return the last number whose invalidation has returned."""
        return int(self._cache.get(f"settled:{key}", 0))

    def change(self, key: str, invalidate: Any) -> None:
        """Change the value of a key; others wait for that meanwhile."""
        with self._cache.lock(key):
            self._cache.add(f"now:{key}", 0, None)
            number = self._cache.incr(f"now:{key}")
            invalidate()
            self._cache.set(f"settled:{key}", number, None)


OPTIONS: Any = {"blocking_calls": "allow", "deadline": 20.0}


def read(cache: Cache, truth: Truth, seed: int, rounds: int) -> None:
    """Read in all ways."""
    dice = random.Random(seed)
    for _ in range(rounds):
        key = dice.choice(KEYS)
        tags: Any = [f"tag:{key}", "of all", "another"]
        dice.shuffle(tags)  # so that entries seldom have the tags in the order that is expected
        if dice.random() < 0.3:
            tags = lambda _, tags=tags: tags  # noqa: E731
        floor, found = truth.settled(key), [floor_of_nothing]
        if dice.random() < 0.2:
            found = cache.get_many([key]).get(key) or found
        elif dice.random() < 0.2:
            found = cache.get(key) or found
        elif dice.random() < 0.3:
            bring = lambda keys: {each: [truth.now(each)] for each in keys}  # noqa: E731
            found = cache.get_or_set_many([key], bring, LIFE, tags=tags)[key]
        else:
            found = cache.get_or_set(key, lambda key=key: [truth.now(key)], LIFE, tags=tags)
        if found[0] < floor:
            print(f"{key}: {found[0]} after {floor}", flush=True)


floor_of_nothing = sys.maxsize


def write(cache: Cache, truth: Truth, seed: int, rounds: int) -> None:
    """Invalidate in all ways."""
    dice = random.Random(seed)
    for _ in range(rounds // 3):
        key = dice.choice(KEYS)
        keep_stale = dice.random() < 0.5
        tag = dice.choice([f"tag:{key}", "of all"])
        truth.change(key, lambda t=tag, s=keep_stale: cache.invalidate_tags(t, keep_stale=s))


def main() -> None:
    """Do both in threads."""
    url, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    cache, truth = Cache(url, key_prefix="world", options=OPTIONS), Truth(url)
    work = [(read, number) for number in range(READERS)] + [
        (write, number) for number in range(WRITERS)
    ]
    with ThreadPoolExecutor(len(work)) as threads:
        running = [
            threads.submit(do, cache, truth, 100 * seed + number, rounds) for do, number in work
        ]
        for each in running:
            each.result()
    cache.close()
    truth.close()
    print("done")


if __name__ == "__main__":
    main()
