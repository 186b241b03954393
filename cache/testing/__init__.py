"""For tests of what uses twofold, and of backends that plug into it.

    FakeClock             a clock that a test advances
    ChaosBackend          a backend that fails or is slow, when told to
    BackendConformance    the contract of a backend, as tests in both faces
    SyncFace, AsyncFace   the two faces behind one set of names, for a test written once

The pytest plugin `twofold.testing.plugin` brings the fixtures `cache` and `clock`.
Everything but `FakeClock` and `ChaosBackend` needs pytest.
"""

from typing import TYPE_CHECKING, Any

from twofold.testing.chaos import ChaosBackend
from twofold.testing.clock import FakeClock

if TYPE_CHECKING:
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
    "case",
]


def __getattr__(name: str) -> Any:
    """Import what needs pytest only when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "BackendConformance":
        from twofold.testing import conformance

        return conformance.BackendConformance
    from twofold.testing import faces

    return getattr(faces, name)
