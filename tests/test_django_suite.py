"""Django's own cache and session tests pass with our backends in the place of Django's.

They are run sync, with every call sent through its `a` twin in one event loop a test, and
once more in a new loop for each call; see `tests/django_suite`. The ordinary run does one
of these with each backend.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos import MemcachedServer, RedisServer
from tests.django_suite.runs import Report, Run, Runs
from tests.django_suite.sources import repoint, suite

FACES = ("sync", "loop", "loops")
ORDINARY = {
    "DummyCache": "loops",
    "FileCache": "loop",
    "MemcachedCache": "loops",
    "MemoryCache": "sync",
    "RedisCache": "loop",
    "SQLiteCache": "sync",
}
RUNS = [
    pytest.param(backend, face, marks=[] if ORDINARY[backend] == face else pytest.mark.heavy)
    for backend in ORDINARY
    for face in FACES
]
UNCULLED = {"MemcachedCache": "PyMemcacheCacheTests", "RedisCache": "RedisCacheTests"}
CULLING = {"test_cull", "test_cull_delete_when_store_empty", "test_zero_cull"}
AT_LEAST = {"DummyCache": 46}  # tests; they only become more with Django's releases
OTHERS_AT_LEAST = 330
OPERATIONS = ("add", "clear", "decr", "delete", "delete_many", "get", "get_many", "get_or_set")
OPERATIONS += ("has_key", "incr", "incr_version", "set", "set_many", "touch")
TWINS = {f"a{name}" for name in OPERATIONS}


class Places:
    """Gives each run a place of its own."""

    def __init__(self, folder: Path, servers: ExitStack) -> None:
        self._folder = folder
        self._servers = servers
        self._redis: RedisServer | None = None

    def of(self, backend: str, face: str) -> str:
        """Return a `LOCATION` that no other run has."""
        if backend == "MemcachedCache":
            return self._servers.enter_context(MemcachedServer(self._folder / face)).address
        if backend == "RedisCache":
            return self._database(FACES.index(face))
        return str(self._folder / f"{backend}-{face}")

    def _database(self, number: int) -> str:
        if self._redis is None:
            self._redis = self._servers.enter_context(RedisServer(self._folder / "redis"))
        return f"redis://{self._redis.address}/{number}"


@pytest.fixture(scope="module")
def reports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], Report]]:
    """Start the runs of all the tests that are selected, and return how to get their reports."""
    folder = tmp_path_factory.mktemp("django")
    repoint(suite(), folder / "tests")
    ours = [item for item in request.session.items if item.path == request.path]
    wanted = [(each.callspec.params["backend"], each.callspec.params["face"]) for each in ours]
    with ExitStack() as stack:
        places = Places(folder, stack)
        runs = stack.enter_context(Runs(folder / "tests"))
        started = {each: Run(each[0], places.of(*each), each[1]) for each in wanted}
        for run in started.values():
            runs.start(run)
        yield lambda backend, face: runs.report(started[backend, face])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("backend", "face"), RUNS)
def test_djangos_tests_pass(reports, backend, face):
    """Nothing fails, and nothing is skipped but culling where the suite itself skips it."""
    report = reports(backend, face)
    uncullable = UNCULLED.get(backend)
    skipped = {f"cache.tests.{uncullable}.{name}" for name in CULLING} if uncullable else set()
    assert report.failed == [], report.said
    assert set(report.skipped) == skipped
    assert report.ran >= AT_LEAST.get(backend, OTHERS_AT_LEAST)
    assert set(report.sent) >= (set() if face == "sync" else TWINS)
