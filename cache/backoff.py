"""Back-off with jitter: the pauses between tries where others were faster."""

import random
from collections.abc import Callable, Iterator
from time import monotonic

_FIRST_PAUSE = 0.001  # seconds at most between two tries, doubled each time
_LONGEST_PAUSE = 0.032


def pauses(seconds: float, clock: Callable[[], float] = monotonic) -> Iterator[float]:
    """Return how long to wait before each try: not at all, then at random, for longer each time.

    So of many who write to one key at once each has its turn. The clock may stand still, in a
    test: what was waited counts too.
    """
    until, waited, longest = clock() + seconds, 0.0, _FIRST_PAUSE
    yield 0.0
    while True:
        pause = random.uniform(0, longest)  # noqa: S311 - it only spreads the tries
        waited += pause
        if waited >= seconds or clock() + pause >= until:
            return
        yield pause
        longest = min(2 * longest, _LONGEST_PAUSE)
