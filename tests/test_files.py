"""Files: operations, places, permissions, time, bounds and settings, on real directories."""

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.disk_stores import DiskStoreCases, Hands, closed_in_the_end
from tests.files_layout import entries, file_of
from twofold.backends.files import FilesBackend
from twofold.backends.files.entry import SHARDS, place
from twofold.errors import (
    BackendUnavailable,
    CounterOverflow,
    DeadlineExceeded,
    MissingKey,
    NotACounter,
    SettingsError,
)
from twofold.registry import build
from twofold.settings import read_cache
from twofold.stub import new_stub

Open = Callable[..., FilesBackend]


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(path: Path, clock: Hands) -> Iterator[Open]:
    """Make backends on one directory, all of which are closed in the end."""
    with closed_in_the_end(FilesBackend, path, clock=clock) as make:
        yield make


@pytest.fixture
def store(opened: Open) -> FilesBackend:
    return opened()


def there(store: FilesBackend, keys: str) -> str:
    """Return those of the one-letter `keys` that are there."""
    return "".join(sorted(store.get_many(list(keys))))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_location_is_needed() -> None:
    """Files need a directory, and the error says which setting holds it."""
    with pytest.raises(SettingsError, match="LOCATION"):
        FilesBackend()


def test_the_short_name_and_the_url_choose_it(path: Path) -> None:
    """`files` is a backend, and `files:////path` an alias."""
    for raw in ({"BACKEND": "files", "LOCATION": path}, f"files:///{path}?max_entries=7"):
        cache = build(read_cache("x", raw))
        assert isinstance(cache.backend, FilesBackend)
        assert cache.backend.location == str(path)
        assert cache.backend.kind == "threaded"
    assert not path.exists()


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_files_are_private_whatever_the_umask(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    """`~` is expanded; each directory that is made has mode 0700, each file 0600."""
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(umask)
    try:
        opened("~/deep/er/cache").set("k", b"v", None)
    finally:
        os.umask(before)
    made = [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]
    assert {mode(each) for each in made if each.is_dir()} == {0o700}
    assert {mode(each) for each in made if each.is_file()} == {0o600}
    assert file_of(tmp_path / "deep/er/cache", "k") in made
    assert opened("~/deep/er/cache").get("k") == b"v"


def test_reading_makes_nothing(store: FilesBackend, path: Path) -> None:
    """A directory is made by the first write."""
    assert store.get("k") is None
    assert store.get_many(["k"]) == {}
    assert store.ttl("k") == 0.0
    store.clear("")
    assert not path.exists()


def test_a_relative_path_is_bound_at_once(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another working directory later changes nothing."""
    monkeypatch.chdir(tmp_path)
    store = opened("here")
    monkeypatch.chdir("/")
    store.set("k", b"v", None)
    assert file_of(tmp_path / "here", "k").exists()


def test_a_linked_directory_is_refused(store: FilesBackend, path: Path, tmp_path: Path) -> None:
    """What it points to is neither read nor written."""
    target = tmp_path / "target"
    target.mkdir(0o700)
    path.symlink_to(target)
    for call in (lambda: store.set("k", b"v", None), lambda: store.get("k")):
        with pytest.raises(BackendUnavailable, match="symbolic link"):
            call()
    assert list(target.iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_refused(store: FilesBackend, path: Path) -> None:
    """The error says that the path is no directory."""
    path.write_bytes(b"mine")
    with pytest.raises(BackendUnavailable, match="no directory"):
        store.set("k", b"v", None)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("loose", [0o770, 0o777, 0o1777, 0o702])
@pytest.mark.parametrize("when", ["before", "in between"])
async def test_a_directory_that_others_may_write_in_is_refused(
    store: FilesBackend, path: Path, loose: int, when: str
) -> None:
    """Both faces name the mode, the path and the way out."""
    if when == "in between":
        store.set("k", b"v", None)
    path.mkdir(exist_ok=True)
    path.chmod(loose)
    way_out = "give another" if loose & stat.S_ISVTX else "run chmod go-w"  # never of /tmp
    with pytest.raises(BackendUnavailable, match=rf"{path}.*{loose:o}: {way_out}"):
        store.set("k", b"v", None)
    with pytest.raises(BackendUnavailable, match=way_out):
        await store.aadd("k", b"v", None)
    store.close()
    with pytest.raises(BackendUnavailable, match=way_out):
        store.get("k")
    path.chmod(0o755)
    assert store.set("k", b"v", None)


def test_a_shard_that_others_may_write_in_is_refused(store: FilesBackend, path: Path) -> None:
    """It is named, and the entry in it is not read."""
    store.set("k", b"v", None)
    store.close()
    file_of(path, "k").parent.chmod(0o770)
    with pytest.raises(BackendUnavailable, match=rf"{file_of(path, 'k').parent}.*chmod go-w"):
        store.get("k")


def test_a_directory_of_another_user_is_refused(
    store: FilesBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names both users."""
    path.mkdir()
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    for call in (lambda: store.set("k", b"v", None), lambda: store.get("k")):
        with pytest.raises(
            BackendUnavailable, match=f"belongs to user {owner}, .* user {owner + 1};"
        ):
            call()


def test_a_linked_shard_is_never_followed(store: FilesBackend, path: Path, tmp_path: Path) -> None:
    """Reads miss, the next write puts a folder in its place, and the target stays as it is."""
    store.set("k", b"v", None)
    store.close()
    shard, elsewhere = file_of(path, "k").parent, tmp_path / "elsewhere"
    shard.rename(elsewhere)
    kept = {each.name: each.read_bytes() for each in elsewhere.iterdir()}
    shard.symlink_to(elsewhere)
    assert store.get("k") is None
    store.clear("")
    assert store.set("k", b"w", None)
    assert store.get("k") == b"w"
    assert not shard.is_symlink()
    assert {each.name: each.read_bytes() for each in elsewhere.iterdir()} == kept


def test_a_shard_that_becomes_a_link_is_never_followed(
    opened: Open, path: Path, tmp_path: Path
) -> None:
    """Not by those either who have it open: writes go into a new folder at once."""
    store, other = opened(), opened()
    store.set("k", b"v", None)
    shard, elsewhere = file_of(path, "k").parent, tmp_path / "elsewhere"
    shard.rename(elsewhere)
    kept = {each.name: each.read_bytes() for each in elsewhere.iterdir()}
    shard.symlink_to(elsewhere)
    assert not store.delete("k")
    assert store.add("k", b"w", None)
    assert other.get("k") == store.get("k") == b"w"
    assert {each.name: each.read_bytes() for each in elsewhere.iterdir()} == kept


USES: dict[str, Callable[[FilesBackend], object]] = {
    "get": lambda store: store.get("k") is None,
    "get_many": lambda store: store.get_many(["k"]) == {},
    "ttl": lambda store: store.ttl("k") == 0.0,
    "set": lambda store: store.set("k", b"w", None),
    "add": lambda store: store.add("k", b"w", None),
    "touch": lambda store: not store.touch("k", 9),
    "delete": lambda store: not store.delete("k"),
    "compare_and_set": lambda store: not store.compare_and_set("k", b"v", b"w", None),
    "compare_and_delete": lambda store: not store.compare_and_delete("k", b"v"),
    "clear": lambda store: store.clear("") is None,
}


def plant(kind: str, at: Path, target: Path) -> None:
    """Put something else in the place of a file."""
    content = at.read_bytes() if at.exists() else b"content"
    at.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(at)
    elif kind == "directory":
        at.mkdir()
    elif kind == "dangling":
        at.symlink_to(target.with_name("nothing"))
    else:
        target.write_bytes(content if kind == "link to an entry" else b"secret")
        os.link(target, at) if kind == "hard link" else at.symlink_to(target)


PLANTED = ["link", "link to an entry", "dangling", "hard link", "fifo", "directory"]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_for_an_entry_is_a_miss(
    store: FilesBackend, path: Path, tmp_path: Path, kind: str, use: str
) -> None:
    """It is never read, written through or waited for, and the next write replaces it."""
    store.set("k", b"v", None)
    target = tmp_path / "target"
    plant(kind, file_of(path, "k"), target)
    before = target.read_bytes() if target.exists() else b""
    assert USES[use](store)
    assert store.set("k", b"x", 9)
    assert store.get("k") == b"x"
    assert file_of(path, "k").is_file()
    assert not file_of(path, "k").is_symlink()
    assert (target.read_bytes() if target.exists() else b"") == before
    assert not target.with_name("nothing").exists()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["twofold.tmp", "twofold.counts"])
@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_for_a_file_of_the_store_is_replaced(
    opened: Open, path: Path, tmp_path: Path, kind: str, name: str
) -> None:
    """Neither a temporary file nor the file of counts leads elsewhere."""
    opened().set("k", b"v", None)
    store, target = opened(max_entries=3), tmp_path / "target"
    place = path / name if name == "twofold.counts" else file_of(path, "k").with_name(name)
    plant(kind, place, target)
    before = target.read_bytes() if target.exists() else b""
    assert store.set("k", b"long" * 2000, None)
    assert store.get("k") == b"long" * 2000
    assert (target.read_bytes() if target.exists() else b"") == before
    assert not target.with_name("nothing").exists()


def test_incr_is_exact_and_keeps_the_expiry(store: FilesBackend, clock: Hands) -> None:
    """The last number counts, one more raises, and counting does not prolong a life."""
    store.set("n", b"%d" % (2**63 - 2), 10)
    clock.now += 4
    assert store.incr("n", 1) == 2**63 - 1
    with pytest.raises(CounterOverflow):
        store.incr("n", 1)
    assert store.ttl("n") == 6.0
    clock.now -= 3
    assert store.ttl("n") == 9.0
    store.set("text", b"1.5", None)
    with pytest.raises(NotACounter):
        store.incr("text", 1)
    with pytest.raises(MissingKey):
        store.incr("missing", 1)


def test_a_deleted_entry_stays_away_when_the_clock_is_set_back(
    store: FilesBackend, clock: Hands
) -> None:
    """Delete removes a file that is expired, since it might live again."""
    store.set_many({"k": b"v", "m": b"v"}, 7200)
    clock.now += 7300
    assert not store.delete("k")
    assert store.delete_many(["m"]) == 0
    clock.now -= 3600
    assert store.get_many(["k", "m"]) == {}


def test_clear_leaves_what_is_not_ours(store: FilesBackend, path: Path) -> None:
    """Foreign files and folders stay, wherever they stand; the directory stays as well."""
    store.set_many({"a:1": b"v", "a:2": b"v", "b:1": b"v", "a!lock:x": b"v"}, None)
    shard = file_of(path, "a:1").parent
    foreign = [
        path / "README",
        path / "counts",
        shard / "notes.entry",
        shard / "x.lock",
        path / "mine" / "a.entry",
    ]
    (path / "mine").mkdir()
    for each in foreign:
        each.write_bytes(b"mine")
    store.clear("a:")
    assert set(store.get_many(["a:1", "a:2", "b:1", "a!lock:x"])) == {"b:1", "a!lock:x"}
    store.clear("")
    ours = [each for each in path.rglob("*") if each.is_file() and each not in foreign]
    assert [each.name for each in ours] == ["twofold.counts"]
    assert {each.read_bytes() for each in foreign} == {b"mine"}
    assert store.set("a:1", b"v", None)


def test_those_stored_longest_ago_go_first(opened: Open, clock: Hands) -> None:
    """To be stored again or touched makes young, to be read does not."""
    store = opened(max_entries=8)
    for name in "abcdefgh":
        store.set(name, b"v", None)
        clock.now += 1
    store.set("a", b"again", None)
    store.touch("b", None)
    store.get("c")
    for name in "ijk":
        clock.now += 1
        store.set(name, b"v", None)
    assert there(store, "abcdefghijk") == "abfghijk"


def test_expired_entries_go_before_living_ones(opened: Open, clock: Hands) -> None:
    """However young they are."""
    store = opened(max_entries=8)
    for ttl, names in ((None, "abcd"), (1, "efgh")):
        clock.now += 1
        store.set_many(dict.fromkeys(names, b"v"), ttl)
    clock.now += 2
    store.set_many(dict.fromkeys("ijkl", b"v"), None)
    assert there(store, "abcdefghijkl") == "abcdijkl"


@pytest.mark.parametrize("bound", [{"max_entries": 8}, {"max_bytes": 100_000}])
@pytest.mark.parametrize("cull_frequency", [None, 0, 3])
def test_a_held_lock_is_not_evicted(
    opened: Open, clock: Hands, path: Path, bound: dict[str, int], cull_frequency: int | None
) -> None:
    """Locks outlive every value in a full store, until they end; then they go."""
    store = opened(**bound, cull_frequency=cull_frequency)
    store.set("app!lock:a:b", b"token", 60)
    store.set("!lock:c", b"token", 60)
    store.set("!d", b"token", 60)
    for number in range(60):
        clock.now += 0.1
        store.set(f"app:1:{number}", b"x" * 1000, None)
    keys = ["app!lock:a:b", "!lock:c", "!d", "app:1:59"]
    assert sorted(store.get_many(keys)) == ["!lock:c", "app!lock:a:b", "app:1:59"]
    assert len(entries(path)) <= bound.get("max_entries", 24)
    clock.now += 100
    for number in range(60):
        store.set(f"app:2:{number}", b"x" * 1000, None)
    assert not file_of(path, "!lock:c").exists()


def test_who_is_stored_again_while_room_is_made_stays(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is removed is what was seen, not what stands in its place by then."""
    store, other = opened(max_entries=3), opened(max_entries=3)
    store.set_many(dict.fromkeys("abc", b"v"), None)
    sample = store._bounds._sample

    def meanwhile(until: float) -> Any:
        found = sample(until)
        for name in "abc":
            other.set(name, b"fresh", None)
        return found

    monkeypatch.setattr(store._bounds, "_sample", meanwhile)
    store.set("d", b"v", None)
    assert there(store, "abcd") == "abcd"
    monkeypatch.undo()
    store.set("e", b"v", None)
    assert len(there(store, "abcde")) == 3


def test_a_lock_whose_file_was_touched_is_not_evicted(opened: Open, path: Path) -> None:
    """What is inside decides, not the times of the file."""
    store = opened(max_entries=4)
    store.set("!lock:a", b"token", 60)
    os.utime(file_of(path, "!lock:a"), (1.0, 1.0))
    for number in range(20):
        store.set(f"k:{number}", b"v", None)
    assert store.get("!lock:a") == b"token"


@pytest.mark.parametrize(("cull_frequency", "left"), [(3, 29), (0, 19), (None, 30), (1, 19)])
def test_culling_is_what_django_does(
    opened: Open, path: Path, cull_frequency: int | None, left: int
) -> None:
    """49 sets of new keys leave what Django's own tests of culling expect."""
    store = opened(max_entries=30, cull_frequency=cull_frequency)
    for number in range(1, 50):
        assert store.set(f"cull{number}", b"value", 1000)
        assert store.has(f"cull{number}")
    assert sum(store.has(f"cull{number}") for number in range(1, 50)) == left
    assert len(entries(path)) == left
    assert store.set("cull49", b"again", None)
    assert len(entries(path)) == left


def test_the_count_is_bounded_whoever_writes(opened: Open, path: Path) -> None:
    """Many writers, each with few writes, never have more files than the bound in all."""
    writers = [opened(max_entries=96) for _ in range(20)]
    for turn in range(15):
        for n, writer in enumerate(writers):
            writer.set(f"key:{turn}:{n}", b"v", None)
        assert len(entries(path)) <= 96
    writers[0].set_many({f"many:{n}": b"v" for n in range(300)}, None)
    assert 90 <= len(entries(path)) <= 96


def test_the_counts_are_exact_with_any_mix_of_writes(opened: Open, path: Path) -> None:
    """What is written, deleted, cleared and evicted leaves the right numbers."""
    store = opened(max_entries=40, max_bytes=400_000)
    dice = random.Random(4)
    for turn in range(800):
        key = f"key:{dice.randrange(80)}"
        action = dice.random()
        if action < 0.6:
            store.set(key, b"v" * dice.choice([1, 5000, 30_000]), dice.choice([None, 5]))
        elif action < 0.7:
            store.add(key, b"v", None)
        elif action < 0.8:
            store.touch(key, 9)
        elif action < 0.9:
            store.compare_and_delete(key, b"v")
        elif action < 0.99:
            store.delete(key)
        else:
            store.clear("key:7")
        if turn % 20 == 0:
            files = entries(path)
            used = sum(-(-each.stat().st_size // 4096) * 4096 for each in files)
            totals = store._counts.totals()
            assert (totals.entries, totals.bytes) == (len(files), used)
            assert len(files) <= 40
            assert used <= 400_000


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "noise", "huge", "zeros"])
def test_counts_that_are_lost_are_found_again(opened: Open, path: Path, damage: str) -> None:
    """Whatever becomes of the file of counts, the bound holds after few writes."""
    store = opened(max_entries=64)
    for number in range(60):
        store.set(f"k:{number}", b"v", None)
    store.close()
    counts = path / "twofold.counts"
    size = counts.stat().st_size
    counts.unlink()
    if damage != "missing":
        noise = random.Random(3).randbytes(size)
        huge = (2**60).to_bytes(8, "little") * (size // 8)
        made = {"empty": b"", "short": b"\1" * 99, "noise": noise, "huge": huge}
        counts.write_bytes(made.get(damage, bytes(size)))
    store.set_many({f"m:{number}": b"v" for number in range(100)}, None)
    assert 55 <= len(entries(path)) <= 64
    assert store._counts.totals().entries == len(entries(path))


def test_expired_files_are_removed_by_the_way(
    opened: Open, clock: Hands, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes clear away what no one asks for any more, a shard now and then."""
    monkeypatch.setattr("twofold.backends.files.bounds._SWEEP_EVERY", 4)
    store = opened()
    store.set_many({f"old:{n}": b"v" for n in range(100)}, 5)
    clock.now += 10
    store.set_many({f"new:{n}": b"v" for n in range(4 * SHARDS)}, None)
    assert len(entries(path)) == 4 * SHARDS
    assert store._counts.totals().entries == 4 * SHARDS


def test_expired_stubs_are_removed_by_the_way(
    opened: Open, clock: Hands, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What killed processes have left goes; what stands stays, and is not counted."""
    monkeypatch.setattr("twofold.backends.files.bounds._SWEEP_EVERY", 4)
    store, stub = opened(), new_stub()
    for number in range(20):
        store.get_or_claim(f"left:{number}", new_stub(), 30)
    clock.now += 20
    store.get_or_claim("stands", stub, 30)
    clock.now += 20
    store.set_many({f"new:{n}": b"v" for n in range(4 * SHARDS)}, None)
    assert len(entries(path)) == 4 * SHARDS + 1
    assert store._counts.totals().entries == 4 * SHARDS
    assert store.get("stands") == stub


def test_the_bytes_are_bounded(opened: Open, path: Path) -> None:
    """Small and large values, new and rewritten, stay within the bound."""
    store = opened(max_bytes=2_000_000, max_entries=1000)
    dice = random.Random(5)
    for n in range(400):
        size = dice.choice([10, 100, 5000, 200_000])
        store.set(f"key:{n % 300}", dice.randbytes(size), 60)
        assert store.has(f"key:{n % 300}")
    used = sum(each.stat().st_blocks * 512 for each in entries(path))
    assert 1_500_000 < used <= 2_000_000


def test_values_that_grow_are_bounded_too(opened: Open, path: Path) -> None:
    """A larger value for a key that is there makes others go."""
    store = opened(max_bytes=100_000)
    store.set_many({f"k:{n}": b"v" for n in range(10)}, None)
    for n in range(10):
        store.set(f"k:{n}", b"v" * 30_000, None)
        assert sum(each.stat().st_size for each in entries(path)) <= 100_000
    assert store.has("k:9")


@pytest.mark.parametrize("cull_frequency", [None, 0])
def test_room_is_made_though_time_is_short(
    opened: Open, path: Path, cull_frequency: int | None
) -> None:
    """A write that has no time left looks at one folder, and removes from it."""
    store = opened(max_entries=150, deadline=1e-6, cull_frequency=cull_frequency)
    for n in range(500):
        assert store.set(f"k:{n}", b"v", None)
        assert store.has(f"k:{n}")
    assert 100 < len(entries(path)) < 170


def test_nothing_is_scanned_for_the_bounds(
    opened: Open, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """A thousand sets list no directory, and in a full store few of them do."""
    scans: list[object] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda at: scans.append(at) or listdir(at))
    store = opened(max_entries=1500)
    store.set("first", b"v", None)
    assert len(scans) == SHARDS
    scans.clear()
    for n in range(1000):
        store.set(f"k:{n}", b"v", None)
    assert scans == []
    store.close()
    for n in range(1000, 2000):
        store.set(f"k:{n}", b"v", None)
    assert 0 < len(scans) < 1000
    assert 1400 < len(entries(path)) <= 1500


def test_large_stores_lose_about_the_oldest(opened: Open, clock: Hands) -> None:
    """What is evicted is of the older half, and a sample is all that is looked at."""
    store = opened(max_entries=1600)
    for n in range(2400):
        clock.now += 1
        store.set(f"k:{n}", b"v", None)
    left = [n for n in range(2400) if store.has(f"k:{n}")]
    assert 1500 < len(left) <= 1600
    assert sum(n >= 1200 for n in left) > 1150


def test_a_lock_that_is_kept_raises_at_the_deadline(opened: Open) -> None:
    """Reads go on, and the error names the setting."""
    store, other = opened(deadline=0.05), opened()
    store.set("k", b"v", None)

    def meanwhile(_: object) -> None:
        assert store.get("k") == b"v"
        with pytest.raises(DeadlineExceeded, match=r"0\.05 s; OPTIONS\['deadline'\]"):
            store.set("k", b"w", None)

    other._tree.locked(place("k")[0], 0.0, meanwhile)
    assert store.set("k", b"w", None)


def test_a_thread_that_keeps_the_lock_raises_at_the_deadline(opened: Open) -> None:
    """Within a process it is the same."""
    store = opened(deadline=0.05)

    def meanwhile(_: object) -> None:
        with pytest.raises(DeadlineExceeded):
            store.add("k", b"v", None)

    store._tree.locked(place("k")[0], 0.0, meanwhile)
    assert store.add("k", b"v", None)


def test_many_keys_share_one_deadline(store: FilesBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys wait for locks, together they wait no longer than one may."""
    locked, ends = store._tree.locked, set()

    def noted(number: int, until: float, *work: Any) -> Any:
        ends.add(until)
        return locked(number, until, *work)

    store.set("first", b"v", None)
    monkeypatch.setattr(store._tree, "locked", noted)
    for call in (
        lambda: store.set_many(dict.fromkeys("abc", b"v"), None),
        lambda: store.delete_many(list("abc")),
        lambda: store.clear(""),
    ):
        ends.clear()
        call()
        assert len(ends) == 1


def descriptors(path: Path) -> int:
    """Return how many files and folders of the cache this process has open."""
    ours = {(each.stat().st_dev, each.stat().st_ino) for each in [path, *path.rglob("*")]}
    found = 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):
            status = os.fstat(int(name))
            found += (status.st_dev, status.st_ino) in ours
    return found


def test_close_lets_go_of_every_descriptor(store: FilesBackend, path: Path) -> None:
    """And the next operation opens what it needs."""
    store.set_many({f"k:{n}": b"v" for n in range(200)}, None)
    assert len(store.get_many([f"k:{n}" for n in range(200)])) == 200
    assert descriptors(path) == SHARDS + 2
    store.close()
    assert descriptors(path) == 0
    assert store.get("k:1") == b"v"


def test_a_hit_opens_one_file(store: FilesBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open, read, close: and nothing else of the file system."""
    store.set("k", b"v", None)
    calls: list[str] = []
    for name in ("open", "fstat", "read", "close", "stat", "lstat", "listdir", "scandir"):
        original = getattr(os, name)

        def counted(*args: Any, _name: str = name, _call: Any = original, **more: Any) -> Any:
            calls.append(_name)
            return _call(*args, **more)

        monkeypatch.setattr(os, name, counted)
    store.close()
    store.get("k")
    calls.clear()
    assert store.get("k") == b"v"
    assert calls == ["open", "read", "close"]


def test_repr_tells_the_place(store: FilesBackend, path: Path) -> None:
    """The class, the directory and the kind."""
    assert repr(store) == f"<FilesBackend {str(path)!r} threaded>"


def test_an_error_that_is_kept_keeps_no_folder_open(store: FilesBackend) -> None:
    """A traceback, which may be part of a cycle of garbage, has no descriptor in its frames."""
    store.set("k", b"text", None)
    with pytest.raises(NotACounter) as kept:
        store.incr("k", 1)
    shards = [handle.descriptor for handle in store._tree._shards.values()]
    store.close()
    assert kept.tb
    for descriptor in shards:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


class TestFilesOnADisk(DiskStoreCases):
    """All cases for stores on a disk."""
