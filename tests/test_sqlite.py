"""SQLite: operations, time, bounds, batches and settings, on real files."""

import asyncio
import fcntl
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.chaos import Stalls
from tests.disk_stores import DiskStoreCases, Hands, closed_in_the_end
from twofold.backends.sqlite import SQLiteBackend
from twofold.backends.sqlite import sessions as sessions_room
from twofold.backends.sqlite.database import DatabaseFile
from twofold.errors import (
    BackendUnavailable,
    CounterOverflow,
    DeadlineExceeded,
    MissingKey,
    NotACounter,
    SettingsError,
)
from twofold.stub import new_stub

Open = Callable[..., SQLiteBackend]


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def opened(path: Path, clock: Hands) -> Iterator[Open]:
    """Make backends on one file, all of which are closed in the end."""
    with closed_in_the_end(SQLiteBackend, path, clock=clock) as make:
        yield make


@pytest.fixture
def store(opened: Open) -> SQLiteBackend:
    return opened()


def count(path: Path) -> int:
    """Return how many rows the file has, expired ones included."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM twofold").fetchone()[0])
    finally:
        connection.close()


def descriptors(path: Path) -> list[str]:
    """Return the files of the cache that this process has open."""
    return [f.path for f in psutil.Process().open_files() if f.path.startswith(str(path))]


@pytest.mark.parametrize("location", ["", ":memory:"])
def test_a_location_without_a_file_is_refused(location: str) -> None:
    """Durable means a path, and the error says which setting holds it."""
    with pytest.raises(SettingsError, match="LOCATION"):
        SQLiteBackend(location)


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_files_are_private_and_missing_folders_are_made(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    """`~` is expanded; each folder has mode 0700, each file 0600, whatever the umask."""
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(umask)
    try:
        opened("~/very/deep/cache.db").set("k", b"v", None)
    finally:
        os.umask(before)
    folder = tmp_path / "very" / "deep"
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(
        ["cache.db", "cache.db-wal", "cache.db-shm", "cache.db-lock"], 0o600
    )


def test_a_symbolic_link_is_refused(opened: Open, path: Path, tmp_path: Path) -> None:
    """What it points to is neither made nor written."""
    path.symlink_to(tmp_path / "target.db")
    with pytest.raises(BackendUnavailable, match="symbolic link"):
        opened().set("k", b"v", None)
    assert not (tmp_path / "target.db").exists()


def test_a_linked_lock_file_is_refused(store: SQLiteBackend, path: Path, tmp_path: Path) -> None:
    """Nobody can make the cache create a file elsewhere."""
    Path(f"{path}-lock").symlink_to(tmp_path / "target")
    with pytest.raises(BackendUnavailable):
        store.get("k")
    assert not (tmp_path / "target").exists()


PARTS = ("", "-wal", "-shm", "-journal", "-lock")


@pytest.mark.parametrize("part", PARTS)
def test_a_file_that_others_may_write_to_is_refused(opened: Open, path: Path, part: str) -> None:
    """SQLite would believe the log of whoever puts one beside the database."""
    opened().set("k", b"v", None)
    opened().close()
    planted = Path(f"{path}{part}")
    planted.touch()
    planted.chmod(0o620)
    with pytest.raises(BackendUnavailable, match=r"others may write .* chmod go-w"):
        opened().get("k")


@pytest.mark.parametrize("part", PARTS)
def test_a_file_of_another_user_is_refused(
    opened: Open, path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose it is counts, whatever its mode."""
    opened().close()
    Path(f"{path}{part}").touch(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1 if path.exists() else 1)
    with pytest.raises(BackendUnavailable, match=r"belongs to user .* runs as user"):
        opened().set("k", b"v", None)


@pytest.mark.parametrize("part", PARTS)
def test_a_file_with_another_name_is_refused(
    opened: Open, path: Path, tmp_path: Path, part: str
) -> None:
    """SQLite would write its log over what somebody has linked to the log's name."""
    opened().set("k", b"v", None)
    opened().close()
    Path(f"{path}{part}").touch(0o600)
    os.link(f"{path}{part}", tmp_path / "linked")
    with pytest.raises(BackendUnavailable, match=r"another name too, .* remove one"):
        opened().get("k")


def test_a_file_that_is_planted_while_it_is_opened_is_refused(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands there is looked at again once SQLite has it open."""
    prepare = DatabaseFile._prepare

    def planted(self: DatabaseFile, *args: Any) -> None:
        prepare(self, *args)
        Path(f"{path}-wal").chmod(0o666)

    monkeypatch.setattr(DatabaseFile, "_prepare", planted)
    with pytest.raises(BackendUnavailable, match="others may write"):
        opened().get("k")


@pytest.mark.parametrize(("mode", "is_safe"), [(0o777, False), (0o1777, True), (0o775, True)])
def test_a_folder_in_which_anybody_may_replace_files_is_refused(
    opened: Open, tmp_path: Path, mode: int, is_safe: bool
) -> None:
    """One like /tmp, where each may replace his own alone, is none."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    store = opened(folder / "cache.db")
    if is_safe:
        assert store.set("k", b"v", None)
    else:
        with pytest.raises(BackendUnavailable, match=r"any user may replace files .* chmod o-w"):
            store.set("k", b"v", None)


def test_a_folder_is_refused(opened: Open, tmp_path: Path) -> None:
    """The error says that the path is no file."""
    with pytest.raises(BackendUnavailable, match="no regular file"):
        opened(tmp_path).get("k")


@pytest.mark.parametrize("statement", ["CREATE TABLE users (name)", "PRAGMA application_id = 77"])
async def test_a_database_of_another_program_is_left_as_it_is(
    opened: Open, path: Path, statement: str
) -> None:
    """Both faces refuse it, and not a byte of it changes."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="another program"):
        opened().set("k", b"v", None)
    with pytest.raises(SettingsError, match="another program"):
        await opened().aget("k")
    assert path.read_bytes() == before


def test_an_empty_file_is_taken(opened: Open, path: Path) -> None:
    """So a file made in advance, with the owner that it should have, serves."""
    path.touch(0o600)
    assert opened().set("k", b"v", None)
    assert opened().get("k") == b"v"


def test_a_file_of_another_release_is_begun_anew(
    opened: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It costs misses and a warning; the old file is kept aside."""
    opened().set("k", b"v", None)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    late = opened()
    assert late.get("k") is None
    assert late.set("k", b"w", None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert Path(f"{path}.corrupt").exists()


def test_an_expired_entry_is_missing_for_every_operation(
    store: SQLiteBackend, clock: Hands
) -> None:
    """Its row may still be there; nobody can tell."""
    store.set_many(dict.fromkeys("abcdefg", b"1"), 10)
    clock.now += 10
    assert (store.get("a"), store.has("a"), store.ttl("a")) == (None, False, 0.0)
    assert store.get_many(["a", "b"]) == {}
    assert not store.touch("b", 10)
    assert not store.delete("c")
    assert store.delete_many(["d"]) == 0
    assert not store.compare_and_set("e", b"1", b"2", None)
    assert not store.compare_and_delete("e", b"1")
    with pytest.raises(MissingKey):
        store.incr("f", 1)
    assert store.add("g", b"2", None)
    assert store.get("g") == b"2"


def test_fractions_of_a_second_count(store: SQLiteBackend, clock: Hands) -> None:
    """An entry for a quarter of a second is gone after it, not before."""
    store.set("k", b"v", 0.25)
    clock.now += 0.125
    assert (store.get("k"), store.ttl("k")) == (b"v", 0.125)
    clock.now += 0.125
    assert store.get("k") is None


def test_more_keys_than_a_statement_takes_variables(store: SQLiteBackend) -> None:
    """Many keys are read, written and removed in chunks."""
    items = {f"key:{n}": b"%d" % n for n in range(2500)}
    assert store.set_many(items, None) == []
    assert store.get_many([*items, "missing"]) == items
    assert store.set_many(dict.fromkeys(items, b"again"), 60) == []
    assert set(store.get_many(list(items)).values()) == {b"again"}
    assert store.delete_many([*items, "missing", "key:1"]) == 2500
    assert store.get_many(list(items)) == {}


def test_no_keys_are_no_work(store: SQLiteBackend) -> None:
    """Empty arguments have empty answers."""
    assert store.get_many([]) == {}
    assert store.set_many({}, None) == []
    assert store.delete_many([]) == 0


def test_clear_takes_a_prefix_literally(store: SQLiteBackend) -> None:
    """Neighbours in order, and what a pattern would mean, stay."""
    items = dict.fromkeys(["a:1:x", "a:1:", "a:10:x", "a:1;", "a:1", "A:1:x", "a_1:x", "~z"], b"v")
    store.set_many(items, None)
    store.clear("a:1:")
    assert set(store.get_many(list(items))) == set(items) - {"a:1:x", "a:1:"}
    store.clear("~")
    assert not store.has("~z")
    store.clear("")
    assert store.get_many(list(items)) == {}


def test_incr_is_exact_over_signed_64_bits(store: SQLiteBackend) -> None:
    """The last number counts, one more raises and changes nothing."""
    store.set("n", b"%d" % (2**63 - 2), None)
    assert store.incr("n", 1) == 2**63 - 1
    with pytest.raises(CounterOverflow):
        store.incr("n", 1)
    assert store.incr("n", -(2**63)) == -1
    assert store.incr("n", -(2**63) + 1) == -(2**63)
    assert store.get("n") == b"%d" % -(2**63)
    store.set("text", b"1.5", None)
    with pytest.raises(NotACounter):
        store.incr("text", 1)
    with pytest.raises(MissingKey):
        store.incr("missing", 1)


def test_incr_keeps_the_expiry(store: SQLiteBackend, clock: Hands) -> None:
    """Counting does not prolong a life, not even when the clock goes back."""
    store.set("n", b"1", 10)
    clock.now += 4
    store.incr("n", 1)
    assert store.ttl("n") == 6.0
    clock.now -= 3
    assert store.ttl("n") == 9.0


def test_a_deleted_entry_stays_away_when_the_clock_is_set_back(
    store: SQLiteBackend, clock: Hands
) -> None:
    """Delete removes a row that is expired, since it might live again."""
    store.set("k", b"v", 7200)
    store.set("m", b"v", 7200)
    clock.now += 7300
    assert not store.delete("k")
    assert store.delete_many(["m"]) == 0
    clock.now -= 3600
    assert store.get("k") is None
    assert store.get("m") is None


def test_those_stored_longest_ago_go_first(opened: Open) -> None:
    """To be stored again makes young, to be read or touched does not."""
    store = opened(max_entries=8)
    for name in "abcdefgh":
        store.set(name, b"v", None)
    store.set("a", b"again", None)
    store.touch("b", None)
    store.get("c")
    for name in "ijk":
        store.set(name, b"v", None)
    assert "".join(sorted(store.get_many("abcdefghijk"))) == "aefghijk"  # type: ignore[arg-type]


def test_expired_entries_go_before_living_ones(opened: Open, clock: Hands) -> None:
    """However young they are."""
    store = opened(max_entries=8)
    for name in "abcd":
        store.set(name, b"v", None)
    for name in "efgh":
        store.set(name, b"v", 1)
    clock.now += 2
    for name in "ijkl":
        store.set(name, b"v", None)
    assert "".join(sorted(store.get_many("abcdefghijkl"))) == "abcdijkl"  # type: ignore[arg-type]


@pytest.mark.parametrize("bound", [{"max_entries": 8}, {"max_bytes": 100_000}])
def test_a_held_lock_is_not_evicted(opened: Open, clock: Hands, bound: dict[str, int]) -> None:
    """Locks outlive every value in a full store, until they end; then they go."""
    store = opened(**bound)
    store.set("app!lock:a:b", b"token", 60)
    store.set("!lock:c", b"token", 60)
    store.set("!claim:d", b"token", 60)
    for value in ("!d", "app!d:e", "app:1:!lock:e", "!lock_f"):
        store.set(value, b"value", 60)
    for number in range(200):
        store.set(f"app:1:{number}", b"x" * 1000, None)
    keys = ["app!lock:a:b", "!lock:c", "!claim:d", "!d", "app!d:e", "app:1:!lock:e", "!lock_f"]
    assert sorted(store.get_many(keys)) == ["!claim:d", "!lock:c", "app!lock:a:b"]
    clock.now += 100
    assert store.get_many(keys[:3]) == {}


@pytest.mark.parametrize(("cull_frequency", "left"), [(3, 29), (0, 19), (None, 30), (1, 19)])
@pytest.mark.parametrize("many", [False, True])
def test_culling_is_what_django_does(
    opened: Open, path: Path, cull_frequency: int | None, left: int, many: bool
) -> None:
    """49 sets of new keys leave what Django's own tests of culling expect."""
    store = opened(max_entries=30, cull_frequency=cull_frequency)
    for number in range(1, 50):
        key = f"cull{number}"
        assert store.set_many({key: b"v"}, 1000) == [] if many else store.set(key, b"v", 1000)
        assert store.has(key)
    assert sum(store.has(f"cull{number}") for number in range(1, 50)) == left
    assert count(path) == left
    assert store.set("cull49", b"again", None)
    assert count(path) == left


def test_culling_leaves_locks(opened: Open) -> None:
    """However many others go, a held lock stays; and so does the newcomer."""
    store = opened(max_entries=10, cull_frequency=0)
    store.set_many({"!lock:a": b"token", "app!claim:b": b"token"}, 60)
    for number in range(9):
        store.set(f"k{number}", b"v", None)
    keys = ["!lock:a", "app!claim:b", *(f"k{number}" for number in range(9))]
    assert sorted(store.get_many(keys)) == ["!lock:a", "app!claim:b", "k8"]


def test_the_count_is_bounded_whoever_writes(opened: Open, path: Path) -> None:
    """Writers that each write less than the interval are no way around the bound."""
    writers = [opened(max_entries=320) for _ in range(40)]
    most = 0
    for turn in range(50):
        for n, writer in enumerate(writers):
            writer.set(f"key:{turn}:{n}", b"v", None)
        most = max(most, count(path))
    assert 320 <= most <= 330
    writers[0].set_many({f"many:{n}": b"v" for n in range(2000)}, None)
    assert count(path) <= 330


def test_the_count_is_bounded_with_any_mix_of_writes(opened: Open, path: Path) -> None:
    """Deleting the newest rows, whose ids are handed out again, is no way around it."""
    store = opened(max_entries=64)
    dice = random.Random(4)
    for n in range(3000):
        key = f"key:{dice.randrange(500)}"
        if dice.random() < 0.7:
            store.set(key, b"v", dice.choice([None, 5]))
        elif dice.random() < 0.5:
            store.add(key, b"v", None)
        else:
            store.delete(key)
        if n % 50 == 0:
            assert count(path) <= 66


def test_the_bytes_are_bounded(opened: Open, path: Path) -> None:
    """Small and large values, new and rewritten, stay within a tenth and the last one."""
    store = opened(max_bytes=2_000_000, max_entries=1000)
    dice = random.Random(5)
    for n in range(1500):
        size = dice.choice([10, 100, 5000, 200_000])
        store.set(f"key:{n % 700}", dice.randbytes(size), 60)
    pages = sqlite3.connect(path)
    try:
        (used,) = pages.execute("PRAGMA page_count").fetchone()
        (free,) = pages.execute("PRAGMA freelist_count").fetchone()
    finally:
        pages.close()
    assert 1_000_000 < (used - free) * 4096 < 2_500_000
    assert path.stat().st_size < 3_500_000
    assert store.has(f"key:{1499 % 700}")


def test_expired_rows_are_removed_by_the_way(opened: Open, clock: Hands, path: Path) -> None:
    """A few writes clear away what no one asks for any more."""
    store = opened()
    store.set_many({f"old:{n}": b"v" for n in range(200)}, 5)
    clock.now += 10
    for n in range(100):
        store.set(f"new:{n}", b"v", None)
    assert count(path) == 100


def test_expired_stubs_are_removed_by_the_way(opened: Open, clock: Hands, path: Path) -> None:
    """What killed processes have left goes, and what stands stays."""
    store, stub = opened(), new_stub()
    for number in range(100):
        store.get_or_claim(f"left:{number}", new_stub(), 30)
    clock.now += 20
    store.get_or_claim("stands", stub, 30)
    clock.now += 20
    for number in range(48):
        store.set(f"new:{number}", b"v", None)
    assert count(path) == 49
    assert store.get("stands") == stub


def test_a_usual_miss_takes_one_statement_to_claim_and_one_to_fill(store: SQLiteBackend) -> None:
    """A transaction of its own is what a claim over an expired row takes, or each 16th fill."""
    store.set("first", b"v", None)
    statements: list[str] = []
    session = store._sessions.local.session
    assert session is not None
    session.connection.set_trace_callback(statements.append)
    for number in range(1, 15):
        stub = new_stub()
        store.get_or_claim(f"k{number}", stub, 30)
        assert store.fill(f"k{number}", stub, b"v", 60)
    assert len(statements) == 2 * 14


def test_a_value_is_stored_and_keys_are_removed_in_one_transaction(store: SQLiteBackend) -> None:
    """No reader finds the one without the other."""
    store.set_many({"a": b"v", "b": b"v"}, None)
    statements: list[str] = []
    session = store._sessions.local.session
    assert session is not None
    session.connection.set_trace_callback(statements.append)
    store.set_and_delete("k", b"v", ["a", "b"])
    words = [each.split()[0] for each in statements]
    assert (words[0], words[-1], words.count("BEGIN")) == ("BEGIN", "COMMIT", 1)
    assert store.get_many(["k", "a", "b"]) == {"k": b"v"}


def test_a_claim_makes_room_on_a_full_disk(store: SQLiteBackend) -> None:
    """Where nothing but misses write, entries go for new ones too."""
    keys = [f"k:{number}" for number in range(200)]
    store.set_many(dict.fromkeys(keys, b"v" * 3000), None)
    session = store._sessions.local.session
    assert session is not None
    (pages,) = session.db.execute("PRAGMA page_count").fetchone()
    session.db.execute(f"PRAGMA max_page_count = {pages}")
    filled = []
    for number in range(100):
        stub = new_stub()
        store.get_or_claim(f"new:{number}", stub, 30)
        filled.append(store.fill(f"new:{number}", stub, b"v" * 3000, None))
    assert sum(filled) > 50


async def test_an_error_in_a_batch_is_only_its_callers(store: SQLiteBackend) -> None:
    """The others of the same tick are committed."""
    await store.aset_many({"n": b"1", "text": b"x"}, None)
    calls = (
        store.aincr("n", 1),
        store.aincr("missing", 1),
        store.aincr("text", 1),
        store.aadd("new", b"v", None),
        store.aset("k", b"v", None),
        store.aset("bad", "text", None),
        store.aget("text"),
        store.attl("n"),
        store.adelete("nothing"),
    )
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [outcomes[n] for n in (0, 3, 4, 6, 7, 8)] == [2, True, True, b"x", None, False]
    assert [type(outcomes[n]) for n in (1, 2, 5)] == [MissingKey, NotACounter, TypeError]
    assert await store.aget_many(["n", "new", "k"]) == {"n": b"2", "new": b"v", "k": b"v"}


async def test_sets_of_one_tick_share_a_transaction(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred concurrent sets are one commit; the last of equal keys wins."""
    store = opened()
    await store.aset("warm", b"v", None)
    commits: list[str] = []
    transact = sessions_room._transact

    def counted(begin: str, *args: Any) -> Any:
        commits.append(begin)
        return transact(begin, *args)

    monkeypatch.setattr(sessions_room, "_transact", counted)
    stored = await asyncio.gather(*(store.aset(f"k:{n % 90}", b"%d" % n, 9) for n in range(100)))
    assert all(stored)
    assert commits == ["BEGIN IMMEDIATE"]
    assert await store.aget_many(["k:5", "k:50"]) == {"k:5": b"95", "k:50": b"50"}


async def test_a_subclass_keeps_its_own_get_and_set(path: Path) -> None:
    """Batches go through what a subclass has overridden."""

    class Shouting(SQLiteBackend):
        def get(self, key: str) -> bytes | None:
            value = super().get(key)
            return value and value.upper()

        def set(self, key: str, value: bytes, ttl: float | None) -> bool:
            return super().set(key, value + b"!", ttl)

    store = Shouting(str(path))
    await asyncio.gather(*(store.aset(name, b"v", None) for name in "abc"))
    assert await asyncio.gather(*(store.aget(name) for name in "abc")) == [b"V!"] * 3
    await store.aclose()


@pytest.fixture
def locked(store: SQLiteBackend, path: Path) -> Iterator[None]:
    """Another connection holds the write lock for the whole test."""
    store.set("k", b"v", None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.usefixtures("locked")
def test_a_wait_for_the_lock_ends_with_the_deadline(opened: Open, stalls: Stalls) -> None:
    """A write raises in time, and a read does not wait at all."""
    store = opened(deadline=0.2)
    assert store.get("k") == b"v"
    for operation in (lambda: store.set("k", b"w", None), lambda: store.incr("k", 1)):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"OPTIONS\['deadline'\]"):
            operation()
        assert 0.1 < time.monotonic() - started < 0.4 + stalls.longest
    assert store.get("k") == b"v"


@pytest.mark.usefixtures("locked")
async def test_a_locked_out_batch_answers_its_reads(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gets of the same tick do not suffer for the sets, in time for the deadline."""
    monkeypatch.setattr("twofold.backends.sqlite.backend._BATCH_WAIT", 0.05)
    store = opened(deadline=10.0)
    writes = (store.aset("k", b"w", None), store.aset("m", b"w", None), store.aincr("k", 1))
    reads = (store.aget("k"), store.aget("m"), store.ahas("k"))
    outcomes = await asyncio.gather(*writes, *reads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[:3]] == [DeadlineExceeded] * 3
    assert outcomes[3:] == [b"v", None, True]


def test_opening_ends_with_the_deadline_too(opened: Open, path: Path, stalls: Stalls) -> None:
    """Somebody who keeps the lock beside the file cannot hold us for longer."""
    with open(f"{path}-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            opened(deadline=0.2).get("k")
        assert time.monotonic() - started < 0.4 + stalls.longest


def test_close_lets_go_of_every_descriptor(store: SQLiteBackend, path: Path) -> None:
    """Connections of other threads are closed as well; the next operation opens anew."""
    done, end = threading.Event(), threading.Event()

    def work() -> None:
        store.get("k")
        done.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    done.wait()
    store.set("k", b"v", None)
    assert len(descriptors(path)) > 2
    store.close()
    assert descriptors(path) == []
    assert store.get("k") == b"v"
    end.set()
    thread.join()


async def test_aclose_lets_go_of_the_workers_descriptors(store: SQLiteBackend, path: Path) -> None:
    """After the async face there is nothing left either."""
    await asyncio.gather(*(store.aset(f"k:{n}", b"v", None) for n in range(300)))
    assert descriptors(path)
    await store.aclose()
    assert descriptors(path) == []


def test_a_thread_that_ends_closes_its_connection(store: SQLiteBackend, path: Path) -> None:
    """Twenty short threads leave one descriptor, which SQLite keeps to use it again."""
    store.set("k", b"v", None)
    before = len(descriptors(path))
    for _ in range(20):
        thread = threading.Thread(target=store.get, args=("k",))
        thread.start()
        thread.join()
    assert len(descriptors(path)) <= before + 1


def test_threads_never_read_another_keys_value(store: SQLiteBackend) -> None:
    """Values embed their keys, while all write, remove and clear."""
    wrong: list[object] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(150):
            key = f"key:{dice.randrange(20)}"
            store.set(key, key.encode() + dice.randbytes(dice.choice([0, 50, 9000])), 60)
            other = f"key:{dice.randrange(20)}"
            value = store.get(other)
            if value is not None and not value.startswith(other.encode()):
                wrong.append((other, value))
            if dice.random() < 0.1:
                store.clear("key:1")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class TestSQLiteOnADisk(DiskStoreCases):
    """All cases for stores on a disk."""
