"""A clock that stands still until a test moves it."""


class FakeClock:
    """Both clocks of `twofold.clock.Clock`, moved by hand.

    Use it as `twofold.configure({...}, clock=FakeClock())`, or `MemoryBackend(clock=...)`.
    """

    def __init__(self, time: float = 1_000_000_000.0) -> None:
        self._time = time
        self._monotonic = 1_000.0

    def __repr__(self) -> str:
        return f"<FakeClock time={self._time!r} monotonic={self._monotonic!r}>"

    def monotonic(self) -> float:
        """Return the seconds of the monotonic clock."""
        return self._monotonic

    def time(self) -> float:
        """Return the seconds of the wall clock."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Let `seconds`, 0 or more, pass on both clocks."""
        if seconds < 0:
            raise ValueError(
                f"time does not pass backwards, by {seconds!r} s: `shift` sets the wall clock back"
            )
        self._monotonic += seconds
        self._time += seconds

    def shift(self, seconds: float) -> None:
        """Set the wall clock forward, or back if negative; no time passes."""
        self._time += seconds
