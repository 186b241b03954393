"""Files: what goes wrong with files, disks and processes costs misses, nothing worse."""

import asyncio
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.disk_stores import assert_in_use, closed_in_the_end, finish, start
from tests.files_layout import entries, file_of
from twofold.backends.files import FilesBackend
from twofold.backends.files.entry import SHARDS, place
from twofold.errors import BackendUnavailable, DeadlineExceeded, MissingKey

Open = Callable[..., FilesBackend]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Make backends on one directory, all of which are closed in the end."""
    with closed_in_the_end(FilesBackend, path) as make:
        yield make


@pytest.fixture
def store(opened: Open) -> FilesBackend:
    return opened()


def warned(caplog: pytest.LogCaptureFixture) -> int:
    """Return how many warnings the test has caused."""
    return sum(record.name == "twofold.files" for record in caplog.records)


def run(code: str, *args: object) -> "subprocess.CompletedProcess[str]":
    """Run `code` in a process of its own and return what came of it."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
    ignored = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    if "os.fork" in code:
        command[1:3] = []
    return subprocess.run(
        command, env=ignored, capture_output=True, text=True, timeout=60, check=False
    )


def test_each_flipped_byte_is_a_miss(
    store: FilesBackend, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever byte of a file is changed, its value is never returned; the file goes."""
    file = file_of(path, "key")
    store.set("key", b"the value", 600)
    sound = file.read_bytes()
    for at, mask in itertools.product(range(len(sound)), (0x01, 0x80, 0xFF)):
        file.write_bytes(bytes([*sound[:at], sound[at] ^ mask, *sound[at + 1 :]]))
        assert store.get("key") is None
        assert not file.exists()
    assert warned(caplog) == 1
    assert store._counts.totals().entries == 0
    file.write_bytes(sound)
    assert store.get("key") == b"the value"


@pytest.mark.parametrize("value", [b"", b"v", b"the value" * 9])
def test_each_truncation_is_a_miss(store: FilesBackend, path: Path, value: bytes) -> None:
    """A file that ends early, or too late, is no entry."""
    file = file_of(path, "key")
    store.set("key", value, None)
    sound = file.read_bytes()
    for length in range(len(sound)):
        file.write_bytes(sound[:length])
        assert store.get("key") is None
        assert not file.exists()
    for tail in (b"\0", b"x" * 5000, sound):
        file.write_bytes(sound + tail)
        assert store.get("key") is None


DAMAGES: dict[str, Callable[[FilesBackend, Path], object]] = {
    "get": lambda store, _: store.get("k"),
    "get_many": lambda store, _: store.get_many(["k"]),
    "has": lambda store, _: store.has("k"),
    "ttl": lambda store, _: store.ttl("k"),
    "touch": lambda store, _: store.touch("k", 9),
    "delete": lambda store, _: store.delete("k"),
    "compare_and_set": lambda store, _: store.compare_and_set("k", b"5", b"6", None),
    "compare_and_delete": lambda store, _: store.compare_and_delete("k", b"5"),
}


@pytest.mark.parametrize("use", DAMAGES)
@pytest.mark.parametrize("damage", ["garbage", "empty", "of another key", "huge"])
def test_a_damaged_file_is_missing_for_every_operation(
    store: FilesBackend, path: Path, use: str, damage: str
) -> None:
    """It is a miss and removed by whoever meets it; a value of another key is none of it."""
    store.set("k", b"5", None)
    file = file_of(path, "k")
    if damage == "of another key":
        store.set("other", b"5", None)
        shutil.copyfile(file_of(path, "other"), file)
    elif damage == "huge":
        os.truncate(file, 2**40)
    else:
        file.write_bytes(b"garbage" * 99 if damage == "garbage" else b"")
    assert not DAMAGES[use](store, path)
    assert not file.exists()
    with pytest.raises(MissingKey):
        store.incr("k", 1)
    assert store.add("k", b"6", None)


def test_a_value_that_is_stored_while_damage_is_found_stays(
    store: FilesBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who removes a damaged file looks again under the lock."""
    store.set("k", b"v", None)
    file_of(path, "k").write_bytes(b"garbage")
    discard = store._discard

    def meanwhile(*args: Any) -> None:
        store.set("k", b"new", None)
        discard(*args)

    monkeypatch.setattr(store, "_discard", meanwhile)
    assert store.get("k") is None
    assert store.get("k") == b"new"


class Failing:
    """A function of `os` that fails at its n-th call from now on, once or from then on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int, names: tuple[str, ...]) -> None:
        self.countdown = -1
        self.lasting = False
        self._code = code
        for name in names:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.countdown -= 1
            if self.countdown == 0 or (self.lasting and self.countdown < 0):
                raise OSError(self._code, os.strerror(self._code))
            return original(*args, **more)

        return call


CALLS = ("open", "fchmod", "write", "utime", "rename", "pwrite", "pread", "unlink", "mkdir")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE])
def test_a_failure_at_any_call_leaves_a_state_that_was_answered(
    opened: Open, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """For every n, the n-th call fails: answers agree with what is stored then."""
    failing = Failing(monkeypatch, code, CALLS)
    backend = opened(max_entries=200)
    for n in range(1, 200):
        backend.set_many({"n": b"5", "k": b"old", "gone": b"v"}, None)
        failing.countdown = n
        stored = _attempt(backend.set, "k", b"new", None)
        total = _attempt(backend.incr, "n", 1)
        deleted = _attempt(backend.delete, "gone")
        added = _attempt(backend.add, f"added:{n}", b"v", None)
        found = _attempt(backend.get, "k")
        passed, failing.countdown = failing.countdown > 0, -1
        assert found in ((b"new", None) if stored else (None,))
        assert backend.get("n") == (b"6" if total else b"5")
        assert deleted is None or not backend.has("gone")
        assert not added or backend.has(f"added:{n}")
        assert_in_use(backend)
        if passed:
            return
    pytest.fail("the operations never passed without a failure")


def _attempt(operation: Callable[..., Any], *args: Any) -> Any:
    """Return the outcome, None where the store was unavailable."""
    try:
        return operation(*args)
    except BackendUnavailable:
        return None


async def test_a_full_disk_stores_nothing_and_keeps_serving(
    store: FilesBackend,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Reads go on, writes tell that they did not store, and one warning is logged."""
    store.set_many({"k": b"old", "n": b"1", "m": b"v"}, 600)
    failing = Failing(monkeypatch, errno.ENOSPC, ("write", "utime"))
    failing.lasting, failing.countdown = True, 1
    assert not store.set("k", b"new", None)
    assert store.get("k") is None
    assert not await store.aadd("new", b"v", None)
    assert store.set_many({"a": b"v", "b": b"v"}, None) == ["a", "b"]
    assert not store.compare_and_set("m", b"v", b"w", None)
    for call in (lambda: store.incr("n", 1), lambda: store.touch("n", 9)):
        with pytest.raises(BackendUnavailable, match=r"cannot be used.*No space"):
            call()
    assert store.get_many(["n", "m"]) == {"n": b"1", "m": b"v"}
    assert store.delete("m")
    assert list(path.glob("*/*.tmp")) == []
    assert warned(caplog) == 1
    failing.lasting = False
    assert_in_use(store)


def test_a_short_write_is_continued(store: FilesBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system takes in pieces is written whole."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))
    assert store.set("k", bytes(range(256)), None)
    assert store.get("k") == bytes(range(256))


LIMITED = """
import json, logging, resource, sys
from twofold.backends.files import FilesBackend
from twofold.errors import BackendUnavailable
logging.basicConfig(stream=sys.stdout, format="%(levelname)s")
store = FilesBackend(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
value = lambda n: b"%d" % n * (20 * n)
stored = [store.set(f"k:{n}", value(n), 600) for n in range(100)]
wrong = [n for n in range(100) if store.get(f"k:{n}") != (value(n) if stored[n] else None)]
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


@pytest.mark.parametrize("limit", [0, 30, 100, 1000, 3000])
def test_files_that_may_not_grow_cost_misses(path: Path, limit: int) -> None:
    """From the first byte on: no exception, no wrong value, one warning, and a recovery."""
    done = run(LIMITED, path, limit)
    assert done.stderr == ""
    *logged, report = done.stdout.splitlines()
    stored, wrong, raised, after = json.loads(report)
    assert logged == ["WARNING"]
    assert (stored > 0) == (limit > 30)
    assert stored < 100
    assert (wrong, raised, after) == ([], 0, True)


def test_a_directory_that_is_removed_is_made_anew(opened: Open, path: Path) -> None:
    """Reads miss, the next write is stored, and others find it, whatever they had open."""
    store, other = opened(), opened()
    store.set_many({f"k:{n}": b"v" for n in range(100)}, None)
    assert other.get("k:1") == b"v"
    shutil.rmtree(path)
    assert store.get("k:1") is None
    assert other.get_many(["k:1", "k:2"]) == {}
    assert not store.delete("k:2")
    assert store.add("k:1", b"w", None)
    other._tree._look_at = 0.0
    assert other.get("k:1") == store.get("k:1") == b"w"
    assert store._counts.totals().entries == 1


@pytest.mark.parametrize("what", ["root", "shards"])
def test_a_directory_that_is_replaced_takes_every_write(
    opened: Open, path: Path, tmp_path: Path, what: str
) -> None:
    """What is deleted and cleared is gone from the new one, though the old one is open."""
    store, other = opened(), opened()
    store.set_many({"k": b"old", "m": b"old", "n": b"1"}, None)
    (tmp_path / "aside").mkdir()
    for each in [path] if what == "root" else list(path.iterdir()):
        each.rename(tmp_path / "aside" / each.name)
    other.close()
    other.set_many({"k": b"new", "m": b"new", "n": b"5"}, None)
    assert store.incr("n", 1) == 6
    assert store.delete("k")
    assert not other.has("k")
    store.clear("")
    assert other.get_many(["k", "m", "n"]) == {}


def test_clear_takes_what_stands_in_a_directory_that_has_just_come(
    opened: Open, path: Path
) -> None:
    """Even in folders of it that this process has never seen."""
    store, other = opened(), opened()
    (path / "mine").mkdir(parents=True, mode=0o700)
    path.chmod(0o700)
    assert store.get("k") is None
    path.rename(path.with_name("aside"))
    other.set("k", b"v", None)
    store.clear("")
    assert not other.has("k")


def test_a_directory_that_is_removed_time_and_again_costs_misses(opened: Open, path: Path) -> None:
    """Whoever writes meanwhile stores or not; no wrong value, nothing that lasts."""
    store, stop = opened(), threading.Event()

    def remove() -> None:
        while not stop.is_set():
            shutil.rmtree(path, ignore_errors=True)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        for n in range(100):
            stored = _attempt(store.set, "k", b"%d" % n, 60)
            assert stored in (True, False, None)
            assert _attempt(store.get, "k") in (None, b"%d" % n)
    finally:
        stop.set()
        thread.join()
    shutil.rmtree(path, ignore_errors=True)
    assert_in_use(store)


HAMMER = """
import random, sys
from twofold.backends.files import FilesBackend
store = FilesBackend(sys.argv[1], deadline=20, max_entries=60)
dice = random.Random(int(sys.argv[2]))
counted = added = 0
for turn in range(150):
    key = f"key:{dice.randrange(40)}"
    if dice.random() < 0.3:
        store.incr("!lock:total", 1)
        counted += 1
    elif dice.random() < 0.2:
        added += store.add(f"!lock:{turn}", b"v", None)
    elif dice.random() < 0.5:
        store.set(key, key.encode() + dice.randbytes(dice.choice([9, 9000])), 60)
    elif dice.random() < 0.2:
        store.delete(key)
    else:
        value = store.get(key)
        assert value is None or value.startswith(key.encode()), (key, value)
store.close()
print(counted, added)
"""


def test_processes_share_one_directory(opened: Open, path: Path) -> None:
    """No wrong value, no lost increment, one who adds, whoever writes at the same time."""
    store = opened(max_entries=60)
    store.set("!lock:total", b"0", None)
    processes = [start(HAMMER, path, seed) for seed in range(4)]
    results = [tuple(map(int, finish(process).split())) for process in processes]
    assert store.get("!lock:total") == b"%d" % sum(counted for counted, _ in results)
    held = [each for each in entries(path) if each.suffix == ".lock"]
    assert len(held) - 1 == sum(added for _, added in results)
    assert store._counts.totals().entries == len(entries(path))


SWAP = """
import sys
from twofold.backends.files import FilesBackend
store = FilesBackend(sys.argv[1], deadline=20)
done = 0
while done < 40:
    value = store.get("n")
    done += store.compare_and_set("n", value, b"%d" % (int(value) + 1), 60)
store.close()
"""


def test_one_of_those_who_compare_and_set_wins(opened: Open, path: Path) -> None:
    """Among processes too, each swap is made from what is there."""
    store = opened()
    store.set("n", b"0", 60)
    for process in [start(SWAP, path) for _ in range(3)]:
        finish(process)
    assert store.get("n") == b"120"


def test_threads_share_one_backend(store: FilesBackend) -> None:
    """One `add` wins, each increment counts, and readers see whole values."""
    store.set("n", b"0", None)
    won: list[int] = []
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(25):
                store.incr("n", 1)
                if store.add(f"add:{turn}", b"%d" % number, None):
                    won.append(turn)
                store.set("k", b"%d" % number * (1 + 500 * number), None)
                value = store.get("k")
                assert value is None or len(set(value)) == 1
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            store.close()
            thread.join(0.001)
    assert errors == []
    assert sorted(won) == list(range(25))
    assert store.get("n") == b"100"


WRITER = """
import sys
from twofold.backends.files import FilesBackend
store = FilesBackend(sys.argv[1], deadline=20)
n = 0
while True:
    n += 1
    for i in range(10):
        pad = b" " * ((n * 7919 + i) % 300_000)
        store.set(f"pair:{i}", b"pair:%d:%d" % (i, n) + pad + b"%d" % n, 600)
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_whole_entries(
    opened: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Writers die in the midst of it; what is read is whole, and their locks are free."""
    store = opened()
    pairs = [f"pair:{i}" for i in range(10)]
    dice = random.Random(1)
    for _ in range(5):
        writer = start(WRITER, path)
        assert writer.stdout is not None
        for _ in range(1 + dice.randrange(3)):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        found = store.get_many(pairs)
        assert len(found) == 10
        for key, value in found.items():
            head, _, rest = value.rpartition(b" ")
            number = (head + b" " + rest).split(b":", 2)[2].split(b" ")[0]
            assert value.startswith(key.encode() + b":")
            assert value.endswith(number)
        for key in pairs:
            assert store.set(key, b"%s:0 0" % key.encode(), None)
    assert warned(caplog) == 0
    assert list(path.glob("*/*.tmp")) == []


DYING = """
import os, signal, sys
from twofold.backends.files import FilesBackend
store = FilesBackend(sys.argv[1])
store.set("k", b"old", None)
original = getattr(os, sys.argv[2])
def die(*args, **more):
    if sys.argv[2] == "write":
        original(args[0], args[1][:-1])
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], die)
store.set("k", b"new" * 9999, None)
"""


@pytest.mark.parametrize("call", ["write", "utime", "rename", "pwrite"])
def test_a_writer_killed_at_any_call_leaves_the_old_or_the_new(
    opened: Open, path: Path, call: str
) -> None:
    """What it leaves beside is swept by the next process that writes, whatever it writes."""
    done = run(DYING, path, call)
    assert done.returncode == -signal.SIGKILL
    orphans = list(path.glob("*/*.tmp"))
    assert len(orphans) == (call != "pwrite")
    store = opened()
    assert store.get("k") == (b"new" * 9999 if call == "pwrite" else b"old")
    number, _ = place("k")
    other = next(key for key in map(str, range(999)) if place(key)[0] != number)
    assert store.set(other, b"v", None)
    assert list(path.glob("*/*.tmp")) == []


def test_an_orphan_is_swept_now_and_then(
    store: FilesBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that lives long removes what others have left since it began."""
    monkeypatch.setattr("twofold.backends.files.bounds._SWEEP_EVERY", 2)
    store.set("k", b"v", None)
    number, _ = place("k")
    (path / f"{number:02x}" / "twofold.tmp").write_bytes(b"half")
    others = [key for key in map(str, range(999)) if place(key)[0] != number]
    for key in others[: 2 * SHARDS + 2]:
        store.set(key, b"v", None)
    assert list(path.glob("*/*.tmp")) == []


HOLDER = """
import sys, time
from twofold.backends.files import FilesBackend
from twofold.backends.files.entry import place
store = FilesBackend(sys.argv[1])
store._tree.locked(place("k")[0], 0.0, lambda _: (print("held", flush=True), time.sleep(60)))
"""


def test_a_killed_holder_keeps_no_lock(opened: Open, path: Path) -> None:
    """While it lives, writers wait until their deadline; once it is dead, none does."""
    store = opened(deadline=0.1)
    holder = start(HOLDER, path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(DeadlineExceeded):
        store.set("k", b"v", None)
    assert store.get("k") is None
    holder.kill()
    holder.communicate()
    assert store.set("k", b"v", None)


FORK = """
import os, sys, threading
from twofold.backends.files import FilesBackend
from twofold.backends.files.entry import place
store = FilesBackend(sys.argv[1])
store.set("n", b"0", None)
held, end = threading.Event(), threading.Event()
def hold():
    store._tree.locked(place("n")[0], 0.0, lambda _: (held.set(), end.wait()))
thread = threading.Thread(target=hold)
thread.start()
held.wait()
to_child, to_parent = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    assert store.get("n") == b"0"
    os.write(to_parent[1], b".")
    os.read(to_child[0], 1)
    for _ in range(100):
        store.incr("n", 1)
    os.write(to_parent[1], b".")
    os.read(to_child[0], 1)
    os._exit(0)
os.read(to_parent[0], 1)
other = FilesBackend(sys.argv[1], deadline=0.05)
try:
    other.incr("n", 1)
except TimeoutError:
    pass
else:
    raise AssertionError("the child's exit or start let the lock go")
end.set()
thread.join()
os.write(to_child[1], b".")
for _ in range(100):
    store.incr("n", 1)
os.read(to_parent[0], 1)
assert store.get("n") == b"200", store.get("n")
os.write(to_child[1], b".")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
other.close()
store.close()
"""


def test_a_fork_amid_a_write_leaves_both_sides_working(path: Path) -> None:
    """The child waits for no thread of its parent's, and the two exclude each other."""
    done = run(FORK, path)
    assert (done.returncode, done.stderr) == (0, "")


ASYNC_FORK = """
import asyncio, os, sys
from twofold.backends.files import FilesBackend
store = FilesBackend(sys.argv[1])
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
    done = run(ASYNC_FORK, path)
    assert (done.returncode, done.stderr) == (0, "")


async def test_tasks_share_one_backend(store: FilesBackend) -> None:
    """Writes and reads of many tasks are all answered, each with its own."""
    await asyncio.gather(*(store.aset(f"k:{n}", b"%d" % n, 60) for n in range(100)))
    found = await asyncio.gather(*(store.aget(f"k:{n}") for n in range(100)))
    assert found == [b"%d" % n for n in range(100)]


def test_an_exit_without_close_is_silent(path: Path) -> None:
    """Nothing is warned of at the interpreter's end."""
    code = """
import asyncio, sys
from twofold.backends.files import FilesBackend
store = FilesBackend(sys.argv[1])
store.set("k", b"v", None)
asyncio.run(store.aset("m", b"v", None))
"""
    done = run(code, path)
    assert (done.returncode, done.stderr) == (0, "")
