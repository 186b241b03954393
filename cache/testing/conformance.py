"""The conformance suite: what every backend must do, as tests in both faces.

The author of a backend subclasses it in a test module, and names a factory:

    class TestMyBackend(BackendConformance):
        def make_backend(self, tmp_path, clock):
            return MyBackend(str(tmp_path / "store"), clock=clock)

The factory's parameters are pytest fixtures; `clock` is a `FakeClock`, to be left out if
the backend takes none. pytest alone runs it; no plugin for asyncio is needed.
"""

from twofold.testing.cache_cases import CacheCases
from twofold.testing.claim_cases import ClaimCases
from twofold.testing.computing_cases import ComputingCases
from twofold.testing.described_cases import DescribedCases, DescribedStoreCases
from twofold.testing.life_cases import LifeCases
from twofold.testing.store_cases import StoreCases
from twofold.testing.tag_cases import TagCases

__all__ = ["BackendConformance"]


class BackendConformance(
    StoreCases,
    LifeCases,
    ClaimCases,
    DescribedStoreCases,
    CacheCases,
    DescribedCases,
    ComputingCases,
    TagCases,
):
    """All cases: of the backend, and of `Cache` over it.

    A subclass may also set:

        settings    settings of an alias to run the cases for `Cache` with
        values      values that come back as they were, with these settings
        life        seconds of short lives where the factory takes no clock
        largest     bytes of the largest value that the store takes
    """
