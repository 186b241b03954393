"""For tests of what uses twofold, and of backends that plug into it.

    FakeClock             a clock that a test advances
    ChaosBackend          a backend that fails or is slow, when told to
    BackendConformance    the contract of a backend, as tests in both faces (needs pytest)
    assert_computed_once  a check of how often a function ran
    FACES, SyncView, …    the two faces behind one set of names, for a test written once

The pytest plugin `twofold.testing.plugin` brings `twofold_cache` and `twofold_clock`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twofold.testing.chaos import ChaosBackend
    from twofold.testing.clock import FakeClock
    from twofold.testing.computed import assert_computed_once
    from twofold.testing.conformance import BackendConformance
    from twofold.testing.faces import FACES, AsyncFace, AsyncView, Face, SyncFace, SyncView, case

__all__ = [
    "FACES",
    "AsyncFace",
    "AsyncView",
    "BackendConformance",
    "ChaosBackend",
    "Face",
    "FakeClock",
    "SyncFace",
    "SyncView",
    "assert_computed_once",
    "case",
]

_ROOMS = {
    "BackendConformance": "conformance",
    "ChaosBackend": "chaos",
    "FakeClock": "clock",
    "assert_computed_once": "computed",
}


if not TYPE_CHECKING:  # to a type checker, a module with `__getattr__` has every name

    def __getattr__(name: str) -> Any:
        """Import a name when it is asked for: the plugin, loaded by every pytest, asks for none."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'faces')}"), name)
