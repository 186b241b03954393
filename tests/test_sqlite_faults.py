"""SQLite: what goes wrong with files, disks and processes costs misses, nothing worse."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import running
from tests.disk_stores import assert_in_use, closed_in_the_end, finish, start
from twofold.backends.sqlite import SQLiteBackend
from twofold.backends.sqlite import sessions as sessions_room
from twofold.backends.sqlite.sessions import Session
from twofold.errors import BackendUnavailable, MissingKey

Open = Callable[..., SQLiteBackend]
KEYS = [f"key:{n}" for n in range(300)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Make backends on one file, all of which are closed in the end."""
    with closed_in_the_end(SQLiteBackend, path) as make:
        yield make


def warned(caplog: pytest.LogCaptureFixture) -> int:
    """Return how many warnings the test has caused."""
    return sum(record.name == "twofold.sqlite" for record in caplog.records)


def value_of(key: str) -> bytes:
    """Return a value that embeds its key and fills a part of a page."""
    return key.encode() * (1 + sum(key.encode()) % 60)


def fill(backend: SQLiteBackend) -> None:
    assert backend.set_many({key: value_of(key) for key in KEYS}, 600) == []


def assert_right_or_missing(backend: SQLiteBackend) -> None:
    for key in KEYS[::7]:
        assert backend.get(key) in (None, value_of(key))
    for key, value in backend.get_many(KEYS).items():
        assert value == value_of(key)


def overwrite(file: Path, offset: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def run(code: str, *args: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run `code` in a process of its own and return what came of it."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.fixture
def filled(opened: Open) -> SQLiteBackend:
    """A backend whose file holds all keys and is closed."""
    backend = opened()
    fill(backend)
    backend.close()
    return backend


@pytest.mark.parametrize(
    "garbage",
    [b"", b"no database at all", b"\0" * 40_000, os.urandom(40_000), b"SQLite format 3\0" * 99],
    ids=["empty", "text", "zeros", "noise", "header only"],
)
def test_garbage_in_the_place_of_the_file_is_a_miss(
    filled: SQLiteBackend, path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning tells it, the next write is stored, and the garbage is kept aside."""
    path.write_bytes(garbage)
    assert filled.get(KEYS[0]) is None
    assert_in_use(filled)
    assert warned(caplog) == (1 if garbage else 0)
    assert Path(f"{path}.corrupt").exists() == bool(garbage)


def test_only_the_latest_damaged_file_is_kept(
    filled: SQLiteBackend, path: Path, tmp_path: Path
) -> None:
    """The disk does not fill with the leavings of a bad one."""
    for n in range(3):
        path.write_bytes(b"garbage %d" % n)
        assert filled.get("k") is None
        filled.close()
    assert Path(f"{path}.corrupt").read_bytes() == b"garbage 2"
    assert {file.name for file in tmp_path.iterdir()} == {
        "cache.db", "cache.db-lock", "cache.db.corrupt",
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_damage_to_a_closed_file_is_never_a_wrong_value(
    filled: SQLiteBackend, path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Flipped bits, overwritten pages and cut ends leave right values and misses."""
    dice = random.Random(seed)
    size = path.stat().st_size
    offset = dice.choice([dice.randrange(200), dice.randrange(size), dice.randrange(size)])
    if seed % 3 == 0:
        overwrite(path, offset, dice.randbytes(dice.choice([1, 8, 512])))
    elif seed % 3 == 1:
        overwrite(path, offset // 4096 * 4096, dice.randbytes(4096))
    else:
        os.truncate(path, offset)
    assert_right_or_missing(filled)
    assert_in_use(filled)
    assert_right_or_missing(filled)
    assert warned(caplog) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_damage_to_a_file_in_use_is_never_a_wrong_value(
    opened: Open, path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The same, while connections are open and the log holds a part of the entries."""
    dice = random.Random(seed)
    first, second = opened(), opened()
    fill(first)
    second.get("k")
    part = Path(f"{path}-wal") if seed % 2 else path
    size = part.stat().st_size
    for _ in range(8):
        overwrite(part, dice.randrange(size), dice.randbytes(64))
    for backend in (first, second, opened()):
        assert_right_or_missing(backend)
        assert_in_use(backend)
    assert_right_or_missing(first)
    assert warned(caplog) <= 1


async def test_a_batch_survives_a_damaged_file(
    filled: SQLiteBackend, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Concurrent calls get misses and stores, as if the cache were new."""
    overwrite(path, 0, b"\xff" * 8192)
    reads = (filled.aget(key) for key in KEYS[:20])
    writes = (filled.aset(f"new:{n}", b"v", 60) for n in range(20))
    others = (filled.adelete(key) for key in KEYS[:5])
    outcomes = await asyncio.gather(*reads, *writes, *others)
    assert outcomes == [None] * 20 + [True] * 20 + [False] * 5
    assert warned(caplog) == 1
    await filled.aclose()


@pytest.mark.parametrize("size", [0, 1, 4096, 6000])
async def test_a_file_that_is_cut_while_it_is_open_is_begun_anew(
    opened: Open, path: Path, size: int
) -> None:
    """Neither who has it open nor who opens it then gets more than misses."""
    store = opened(deadline=0.5)
    fill(store)
    os.truncate(path, size)
    for _ in range(2):
        store.set("k", b"v", None)
        assert await store.aget("k") in (b"v", None)
        await store.aset("k", b"v", None)
    assert (store.get("k"), await store.aget("k")) == (b"v", b"v")


@pytest.mark.parametrize("part", ["-wal", "-shm", "-lock"])
async def test_a_side_file_that_is_removed_while_it_is_open_costs_misses(
    opened: Open, path: Path, part: str
) -> None:
    """Whoever comes finds a file that serves."""
    store = opened(deadline=0.5)
    fill(store)
    Path(f"{path}{part}").unlink()
    for _ in range(3):
        store.set("k", b"v", None)
        assert await store.aget("k") in (b"v", None)
        await store.aset("k", b"v", None)
    assert store.get("k") == b"v"
    assert_right_or_missing(store)


def test_a_deleted_file_is_noticed(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read from or written to what no path names any more."""
    monkeypatch.setattr(sessions_room, "_LOOK_EVERY", 0.0)
    backend = opened()
    backend.set("k", b"v", None)
    for part in ("", "-wal", "-shm"):
        os.unlink(f"{path}{part}")
    assert backend.get("k") is None
    assert backend.set("k", b"w", None)
    assert opened().get("k") == b"w"


def test_a_file_replaced_by_another_process_is_noticed(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had the old one open reads the new one."""
    monkeypatch.setattr(sessions_room, "_LOOK_EVERY", 0.0)
    backend = opened()
    backend.set("k", b"old", None)
    code = """
import os, sys
from twofold.backends.sqlite import SQLiteBackend
for part in ("", "-wal", "-shm"):
    os.rename(sys.argv[1] + part, sys.argv[1] + ".old" + part)
store = SQLiteBackend(sys.argv[1])
store.set("k", b"new", None)
store.close()
"""
    assert run(code, path).stderr == ""
    assert backend.get("k") == b"new"
    backend.set("m", b"v", None)
    assert opened().get("m") == b"v"


def test_the_session_looks_at_the_path_at_most_once_a_second(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hit costs no system call for it."""
    backend = opened()
    backend.get("k")
    looks: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda name: looks.append(name) or lstat(name))
    for _ in range(100):
        backend.get("k")
    assert len(looks) <= 2


NOTICE = """
import logging, sys
from twofold.backends.sqlite import SQLiteBackend
logging.basicConfig(stream=sys.stdout, format="%(levelname)s")
store = SQLiteBackend(sys.argv[1], deadline=10)
print("ready", flush=True)
sys.stdin.readline()
assert store.get("key:1") is None
assert store.set(sys.argv[2], b"v", None)
store.close()
"""


def test_processes_that_find_damage_together_rebuild_once(
    filled: SQLiteBackend, path: Path
) -> None:
    """One of them warns, and what each stores afterwards is there for all."""
    path.write_bytes(b"garbage" * 1000)
    command = "-W", "error", "-c", NOTICE, path
    with ExitStack() as started:
        processes = [started.enter_context(running(*command, f"from:{n}")) for n in range(5)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        outputs = [process.communicate("go\n", timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 5
    assert "".join(outputs).count("WARNING") == 1
    assert len(filled.get_many([f"from:{n}" for n in range(5)])) == 5


def limit_pages(backend: SQLiteBackend) -> None:
    """Let the file of this thread's session grow no more."""
    session = backend._sessions.local.session
    assert session is not None
    (pages,) = session.db.execute("PRAGMA page_count").fetchone()
    session.db.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_stores_nothing_and_keeps_serving(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Reads go on, writes tell that they did not store, and one warning is logged."""
    backend = opened()
    fill(backend)
    limit_pages(backend)
    big = b"x" * 100_000
    assert not backend.set("big", big, None)
    assert not backend.add("big", big, None)
    assert backend.set_many({"big": big, "small": b"v"}, None) == ["big", "small"]
    assert not backend.set(KEYS[-1], big, None)
    assert backend.get(KEYS[-1]) is None
    assert backend.get(KEYS[-2]) == value_of(KEYS[-2])
    assert backend.delete(KEYS[-2])
    assert warned(caplog) == 1


async def test_a_full_disk_stores_nothing_in_a_batch(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever's value fits is not harmed by one that does not."""
    monkeypatch.setattr(SQLiteBackend, "workers", 1)
    backend = opened()
    await asyncio.gather(*(backend.aset(key, value_of(key), 60) for key in KEYS))
    await backend._worker_pool(limit_pages, backend)
    outcomes = await asyncio.gather(
        backend.aset("big", b"x" * 500_000, None),
        backend.aset(KEYS[9], b"v", None),
        backend.aget(KEYS[8]),
    )
    assert outcomes == [False, True, value_of(KEYS[8])]
    await backend.aclose()


LIMITED = """
import json, logging, resource, sys
from twofold.backends.sqlite import SQLiteBackend
from twofold.errors import BackendUnavailable
logging.basicConfig(stream=sys.stdout, format="%(levelname)s")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
store = SQLiteBackend(sys.argv[1], max_entries=1000)
COUNT = 50 if int(sys.argv[2]) < 10_000 else 250
value = lambda key: key.encode() * 200
stored = [store.set(f"k:{n}", value(f"k:{n}"), 600) for n in range(COUNT)]
wrong = [n for n in range(COUNT) if store.get(f"k:{n}") not in (None, value(f"k:{n}"))]
raised = 0
for operation, *args in (store.delete, "k:1"), (store.clear, "k:"), (store.touch, "k:2", 9):
    try:
        operation(*args)
    except BackendUnavailable:
        raised += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
after = store.set("after", b"v", None) and store.get("after") == b"v"
store.close()
print(json.dumps([sum(stored), wrong, raised, after]))
"""


@pytest.mark.parametrize("limit", [0, 20_000, 60_000, 150_000])
def test_files_that_may_not_grow_cost_misses(path: Path, limit: int) -> None:
    """From the first byte on: no exception but where it is promised, and a recovery."""
    done = run(LIMITED, path, limit)
    assert done.stderr == ""
    *logged, report = done.stdout.splitlines()
    stored, wrong, raised, after = json.loads(report)
    assert logged == ["WARNING"]
    assert stored < 250
    assert (wrong, after) == ([], True)
    assert raised in ((3,) if limit == 0 else (0, 1, 2, 3))


class Failing:
    """A cursor that raises at its n-th statement from now on, once."""

    countdown = -1
    code = sqlite3.SQLITE_OK

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return self._cursor.execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return self._cursor.executemany(*args)

    @classmethod
    def _count(cls) -> None:
        cls.countdown -= 1
        if cls.countdown == 0:
            error = sqlite3.OperationalError("injected")
            error.sqlite_errorcode = cls.code
            raise error


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    """Make every session's statements count down to a failure."""
    init = Session.__init__

    def wrapped(self: Session, *args: Any) -> None:
        init(self, *args)
        self.db = Failing(self.db)  # type: ignore[assignment]

    monkeypatch.setattr(Session, "__init__", wrapped)
    monkeypatch.setattr(Failing, "countdown", -1)
    return Failing


FAILURES = [
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
]


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_at_any_statement_leaves_a_state_that_was_answered(
    opened: Open, failing: type[Failing], code: int
) -> None:
    """For every n, the n-th statement fails: answers agree with what is stored then."""
    failing.code = code
    backend = opened()
    for n in range(1, 60):
        fill(backend)
        backend.set_many({"n": b"5", "k": b"old", "gone": b"v"}, None)
        failing.countdown = n
        stored = _attempt(backend.set, "k", b"new", None)
        total = _attempt(backend.incr, "n", 1)
        deleted = _attempt(backend.delete, "gone")
        found = _attempt(backend.get, "k")
        if failing.countdown > 0:
            return
        failing.countdown = -1
        assert found in ((b"new", None) if stored else (b"old", None))
        assert backend.get("n") in ((b"6", None) if total else (b"5", None))
        assert total in (6, None)
        assert deleted is None or not backend.has("gone")
        assert_in_use(backend)
    pytest.fail("the operations never passed without a failure")


def _attempt(operation: Callable[..., Any], *args: Any) -> Any:
    """Return the outcome, None where the store was unavailable or had lost its entries."""
    try:
        return operation(*args)
    except (BackendUnavailable, MissingKey):
        return None


@pytest.mark.parametrize("code", FAILURES)
async def test_a_failure_at_any_statement_of_a_batch_counts_once_or_not(
    opened: Open, failing: type[Failing], code: int
) -> None:
    """A batch that fails is undone and run call by call: no increment is made twice."""
    failing.code = code
    backend = opened()
    for n in range(1, 60):
        await backend.aset("n", b"0", None)
        failing.countdown = n
        outcomes = await asyncio.gather(
            *(backend.aincr("n", 1) for _ in range(5)),
            *(backend.aset(f"k:{i}", b"v", None) for i in range(3)),
            *(backend.aget(f"k:{i}") for i in range(3)),
            return_exceptions=True,
        )
        passed, failing.countdown = failing.countdown > 0, -1
        counted = [outcome for outcome in outcomes[:5] if isinstance(outcome, int)]
        number = await backend.aget("n")
        assert sorted(counted) == list(range(1, len(counted) + 1))
        assert number is None or int(number) == len(counted)
        if passed:
            break
    else:
        pytest.fail("the batch never passed without a failure")
    await backend.aclose()


HAMMER = """
import random, sys
from twofold.backends.sqlite import SQLiteBackend
store = SQLiteBackend(sys.argv[1], deadline=20)
dice = random.Random(int(sys.argv[2]))
counted = 0
for _ in range(300):
    key = f"key:{dice.randrange(50)}"
    if dice.random() < 0.3:
        store.incr("total", 1)
        counted += 1
    elif dice.random() < 0.5:
        store.set(key, key.encode() + dice.randbytes(dice.choice([9, 900])), 60)
    elif dice.random() < 0.2:
        store.delete(key)
    else:
        value = store.get(key)
        assert value is None or value.startswith(key.encode()), (key, value)
store.close()
print(counted)
"""


def test_processes_share_one_file(opened: Open, path: Path) -> None:
    """No wrong value, no lost increment, no error, whoever writes at the same time."""
    store = opened()
    store.set("total", b"0", None)
    processes = [start(HAMMER, path, seed) for seed in range(4)]
    counted = sum(int(finish(process)) for process in processes)
    assert store.get("total") == b"%d" % counted


WRITER = """
import sys
from twofold.backends.sqlite import SQLiteBackend
store = SQLiteBackend(sys.argv[1], deadline=20)
n = 0
while True:
    n += 1
    pad = b" " * (n % 3000)
    store.set_many({f"pair:{i}": b"pair:%d:%d" % (i, n) + pad for i in range(40)}, 600)
    if n % 5 == 0:
        print(n, flush=True)
"""


def test_a_killed_writer_leaves_whole_transactions(
    opened: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten writers die in the midst of it; what is read is all of one write."""
    store = opened()
    pairs = [f"pair:{i}" for i in range(40)]
    for turn in range(10):
        writer = start(WRITER, path)
        assert writer.stdout is not None
        assert writer.stderr is not None
        for _ in range(1 + turn % 3):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        found = {
            key: value.strip().rpartition(b":") for key, value in store.get_many(pairs).items()
        }
        assert all(head == key.encode() for key, (head, _, _) in found.items())
        assert len(found) == 40
        assert len({number for _, _, number in found.values()}) == 1
        assert store.set("k", b"v", None)
    assert warned(caplog) == 0


FORK = """
import os, sys, threading
from twofold.backends.sqlite import SQLiteBackend
path = sys.argv[1]
store = SQLiteBackend(path, deadline=20)
store.set("parent", b"v", None)
if sys.argv[2] == "threads":
    done, end = threading.Event(), threading.Event()
    def work():
        store.get("parent")
        done.set()
        end.wait()
    thread = threading.Thread(target=work)
    thread.start()
    done.wait()
children = []
for n in range(3):
    to_child, to_parent = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        assert store.get("parent") == b"v"
        assert store.set(f"child:{n}:early", b"v", None)
        os.write(to_parent[1], b".")
        os.read(to_child[0], 1)
        assert store.set(f"child:{n}:late", b"v", None)
        assert store.get(f"other:{n}") == b"v"
        store.close()
        os._exit(0)
    os.read(to_parent[0], 1)
    children.append((pid, to_child[1], n))
store.close()
other = SQLiteBackend(path, deadline=20)
for _, _, n in children:
    other.set(f"other:{n}", b"v", None)
other.close()
for pid, pipe, n in children:
    os.write(pipe, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
names = [f"child:{n}:{when}" for n in range(3) for when in ("early", "late")]
assert len(store.get_many(names)) == 6
if sys.argv[2] == "threads":
    end.set()
    thread.join()
store.close()
"""


@pytest.mark.parametrize("kind", ["alone", "threads"])
def test_a_fork_after_warm_up_loses_no_write(path: Path, kind: str) -> None:
    """Children open their own connections, and the parent's close takes nothing from them."""
    ignored = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    command = [sys.executable, "-c", FORK, str(path), kind]
    done = subprocess.run(
        command, env=ignored, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


ASYNC_FORK = """
import asyncio, os, sys
from twofold.backends.sqlite import SQLiteBackend
store = SQLiteBackend(sys.argv[1], deadline=20)
async def use(tag):
    await asyncio.gather(*(store.aset(f"{tag}:{n}", b"v", 60) for n in range(50)))
    assert len(await store.aget_many([f"{tag}:{n}" for n in range(50)])) == 50
asyncio.run(use("parent"))
pid = os.fork()
if pid == 0:
    asyncio.run(use("child"))
    store.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
asyncio.run(use("again"))
assert store.get("child:7") == b"v"
store.close()
"""


def test_the_async_face_works_on_both_sides_of_a_fork(path: Path) -> None:
    """Worker threads do not exist in the child; it makes its own."""
    ignored = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    command = [sys.executable, "-c", ASYNC_FORK, str(path)]
    done = subprocess.run(
        command, env=ignored, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_close_while_threads_work_costs_nothing(opened: Open) -> None:
    """They open anew and never see an error of a connection closed under them."""
    backend = opened()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for n in range(150):
                assert backend.set(f"k:{n}", b"v", 60)
                assert backend.get(f"k:{n}") == b"v"
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        backend.close()
    assert errors == []


def test_an_exit_without_close_is_silent(path: Path) -> None:
    """Nothing is warned of at the interpreter's end, in whatever thread the sessions are."""
    code = """
import asyncio, sys
from twofold.backends.sqlite import SQLiteBackend
store = SQLiteBackend(sys.argv[1], deadline=20)
store.set("k", b"v", None)
asyncio.run(store.aset("m", b"v", None))
"""
    done = run(code, path)
    assert (done.returncode, done.stderr) == (0, "")
