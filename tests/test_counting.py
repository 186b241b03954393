"""Signed counters: read, verified, and put in the place of what was read, once."""

from time import monotonic
from typing import Any

import pytest

from tests.dict_backend import DictBackend
from twofold.backend import Backend
from twofold.backoff import pauses
from twofold.core import Cache
from twofold.errors import BackendUnavailable, MissingKey
from twofold.testing import FACES, ChaosBackend, Face


def signed(backend: Backend, **options: Any) -> Cache:
    return Cache(backend, secret="a secret of its own", options=options)


class Restless(DictBackend):
    """A store whose values others change all the time."""

    def replace(self, key: str, expected: Any, value: Any) -> bool:
        return False


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_counter_that_others_always_change_is_given_up_in_time(face: Face) -> None:
    """After the deadline an `incr` that never came through raises, and has changed nothing."""
    backend = Restless()
    backend.deadline = 0.1
    cache = face.view(signed(backend))

    async def body() -> None:
        await cache.set("n", 1)
        began = monotonic()
        with pytest.raises(BackendUnavailable, match="under contention"):
            await cache.incr("n")
        assert 0.05 < monotonic() - began < 5
        assert await cache.get("n") == 1

    face.run(body())
    backend.close()


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("operation", ["get", "replace"])
def test_in_an_outage_there_is_no_counter(face: Face, operation: str) -> None:
    """An outage is an error or a missing counter, by `on_error`, and is not tried again."""
    chaos = ChaosBackend(inner=DictBackend(), operations=[operation])
    patient = signed(chaos, on_error="miss")
    strict, lenient = face.view(signed(chaos)), face.view(patient)

    async def body() -> None:
        await strict.set("n", 1)
        chaos.failure_rate = 1.0
        with pytest.raises(BackendUnavailable):
            await strict.incr("n")
        with pytest.raises(MissingKey, match="unavailable"):
            await lenient.incr("n")
        assert chaos.calls[operation] == 2
        assert patient.stats().unavailable == 1
        chaos.failure_rate = 0.0
        assert await lenient.incr("n") == 2

    face.run(body())
    chaos.close()


@pytest.mark.parametrize("stands", [True, False], ids=["a clock that stands", "one that goes"])
def test_pauses_end_before_the_time_does(stands: bool) -> None:
    """The first try waits for nothing, later ones longer, and none begins when time is up."""
    waited = [0.0]
    for pause in pauses(1.0, (lambda: 0.0) if stands else (lambda: sum(waited))):
        waited.append(pause)  # noqa: PERF402 - the clock reads it meanwhile
    assert waited[1] == 0.0
    assert 0.9 < sum(waited) < 1.0
    assert max(waited) <= 0.032
    assert 32 < len(waited) < 200
