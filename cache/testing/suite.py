"""What the cases of the conformance suite stand on: the factory and the fixtures."""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from twofold import counter
from twofold.backend import Backend
from twofold.core import Cache
from twofold.testing.clock import FakeClock
from twofold.testing.faces import FACES, Face

LIFE = 10.0
"""Seconds that short-lived entries live where a `FakeClock` tells the time."""


class Suite:
    """A factory of empty backends, and the fixtures made of it."""

    settings: ClassVar[Mapping[str, Any]] = {}
    """Settings of an alias that the cases for `Cache` are to run with: "SERIALIZER", …"""

    life: ClassVar[float] = 0.1
    """Seconds that short-lived entries live where the factory takes no `clock`: as few as
    the store can tell."""

    largest: ClassVar[int] = 1_000_000
    """Bytes of the largest value to store."""

    def make_backend(self, *args: Any, **kwargs: Any) -> Backend:
        """Return a new backend over an empty store of its own.

        Its parameters are pytest fixtures. One of them is `clock`, a `FakeClock`, for a
        backend that takes one; without it the cases wait in real time.
        """
        raise NotImplementedError(
            f"{type(self).__name__} names no factory: define make_backend(self) in it, which"
            " returns a new backend over an empty store"
        )

    def make_cache(self, backend: Backend, **settings: Any) -> Cache:
        """Return a cache over `backend`, with the suite's settings and further ones."""
        given: Any = {name.lower(): value for name, value in {**self.settings, **settings}.items()}
        return Cache(backend, **given)

    @pytest.fixture(params=FACES, ids=lambda face: face.name)
    def face(self, request: pytest.FixtureRequest) -> Face:
        """Return the face that the case is to run in."""
        face: Face = request.param
        return face

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Return the clock, for a factory that takes one."""
        return FakeClock()

    @pytest.fixture
    def backend(self, request: pytest.FixtureRequest) -> Iterator[Backend]:
        """Return a backend of the factory's; close it afterwards."""
        names = self._factory_parameters()
        made = self.make_backend(**{name: request.getfixturevalue(name) for name in names})
        yield made
        made.close()

    @pytest.fixture
    def store(self, face: Face, backend: Backend) -> Any:
        """Return the backend in the face."""
        return face.view(backend)

    @pytest.fixture
    def cache(self, face: Face, backend: Backend) -> Any:
        """Return a cache over the backend, in the face."""
        return face.view(self.make_cache(backend))

    @pytest.fixture
    def short(self) -> float:
        """Return how many seconds short-lived entries live."""
        return LIFE if "clock" in self._factory_parameters() else self.life

    @pytest.fixture
    def outlive(self, clock: FakeClock, short: float) -> Callable[[], None]:
        """Return a function that lets entries of the life `short` end."""
        if "clock" in self._factory_parameters():
            return lambda: clock.advance(short * 1.001)
        return lambda: time.sleep(short * 1.5)

    @pytest.fixture
    def number(self, backend: Backend) -> Callable[[int], Any]:
        """Return what makes of an integer the counter that the store keeps."""
        return int if backend.holds_objects else counter.write

    def _factory_parameters(self) -> list[str]:
        parameters = inspect.signature(self.make_backend).parameters.values()
        return [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]


def lasts(left: float | None, most: float | None) -> bool:
    """Tell whether nearly all of `most` seconds are left; None is for ever.

    A store may round up to a whole second, and keep for ever what is to last for decades.
    """
    if left is None:
        return most is None or most > _DECADES
    return most is not None and min(most, 1e9) - 20 < left < most + 1


_DECADES = 1e9
