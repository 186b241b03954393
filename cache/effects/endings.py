"""What ends once, and is waited for by threads and by the tasks of any number of event loops.

Most of what could be waited for is waited for by nobody: until somebody comes, this is a flag.
"""

from collections.abc import Callable


class Ending:
    """Something that ends once; `Effects.wait` waits for that."""

    __slots__ = ("_wakes", "ended")

    def __init__(self) -> None:
        self.ended: bool = False
        self._wakes: dict[Callable[[], object], None] = {}  # in the order in which they came

    def end(self) -> None:
        """Wake all who wait; a second call wakes those whom an interrupted one did not."""
        self.ended = True
        for wake in list(self._wakes):
            wake()

    def notify(self, wake: Callable[[], object]) -> None:
        """Have `wake` called when it ends, perhaps twice, from any thread; or now, if it has."""
        self._wakes[wake] = None
        if self.ended:
            wake()

    def forget(self, wake: Callable[[], object]) -> None:
        """Call `wake` no more."""
        self._wakes.pop(wake, None)
