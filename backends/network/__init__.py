"""What the stores behind a network share."""

from twofold.backends.network.breaker import Breaker
from twofold.backends.network.faults import ConnectionLost, DialFailed, late

__all__ = ["Breaker", "ConnectionLost", "DialFailed", "late"]
