"""The begin and the end of what is measured, by whichever instrument."""

import os
import time


def begin() -> tuple[float, float]:
    """Return the CPU and the wall time; callgrind counts from here, see `instructions`."""
    os.getpgrp()
    return time.process_time(), time.perf_counter()


def end(begun: tuple[float, float]) -> tuple[float, float]:
    """Return the seconds of CPU and by the wall since `begun`; callgrind counts up to here."""
    cpu, wall = time.process_time(), time.perf_counter()
    os.getsid(0)
    return cpu - begun[0], wall - begun[1]
