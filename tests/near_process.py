"""A process that reads and writes keys near of one Redis, as its parent says on a pipe.

    python -m tests.near_process URL WRITERS KEYS

It says "ready" once it is told of changes, works until a line comes, says "still" when its last
write has returned, and at the next line compares what is near with the store; then it prints the
numbers.
"""

import json
import random
import sys
import threading
import time

from tests.chaos import eventually
from twofold import Cache

PREFIX = "two"


def main() -> None:
    url, writers, keys = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    names = [f"key{number}" for number in range(keys)]
    cache = Cache(url, key_prefix=PREFIX, near="16mb")
    stops = threading.Event()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        while not stops.is_set():
            name = chance.choice(names)
            step = chance.random()
            if step < 0.7:
                cache.get(name)
            elif step < 0.95:
                cache.set(name, [seed, chance.random()])
            else:
                cache.delete(name)

    cache.get(names[0])
    eventually(lambda: cache.stats().near.watch.live, "the watch is live")
    print("ready", flush=True)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    stops.set()
    for thread in threads:
        thread.join()
    print("still", flush=True)
    sys.stdin.readline()
    time.sleep(cache.stats().near.staleness)  # what is promised
    before, far = cache.stats().near, Cache(url, key_prefix=PREFIX)
    wrong = [name for name in names if cache.get(name) != far.get(name)]
    compared = cache.stats().near
    print(
        json.dumps(
            {
                "wrong": wrong,
                "hits": before.hits,
                "compared": compared.hits - before.hits,
                "losses": compared.watch.losses,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
