"""What is special where POSIX is missing; `tests/no_posix.py` runs it."""

import fcntl
import ntpath
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos import RedisServer
from tests.no_posix import STEP
from twofold.backends.disk.ownership import make_folders
from twofold.backends.files import FilesBackend
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.network import pool
from twofold.backends.redis import RedisBackend
from twofold.backends.sqlite import SQLiteBackend
from twofold.errors import BackendUnavailable, DeadlineExceeded, SettingsError
from twofold.registry import Caches


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteBackend]:
    backend = SQLiteBackend(str(path))
    backend.set("k", b"v", None)
    yield backend
    backend.close()


def test_files_says_why_not(tmp_path: Path) -> None:
    """It can be imported, and says what to use instead when it is built."""
    with pytest.raises(SettingsError, match=r"'files' needs what .* use BACKEND 'sqlite'"):
        FilesBackend(str(tmp_path))
    caches = Caches()
    caches.configure({"default": {"BACKEND": "files", "LOCATION": str(tmp_path)}})
    with pytest.raises(SettingsError, match=r"CACHES\['default'\]: BACKEND 'files' needs"):
        caches["default"]


@pytest.mark.parametrize(
    ("backend", "location"),
    [
        (RedisBackend, "unix:///run/redis.sock?db=1"),
        (MemcachedBackend, "unix:/run/memcached.sock"),
        (MemcachedBackend, "/run/memcached.sock"),
    ],
)
def test_unix_sockets_are_refused(backend: type, location: str) -> None:
    """The message names the setting, and what to write there."""
    with pytest.raises(SettingsError, match=r"LOCATION '.*sock.*Unix socket.* host and a port"):
        backend(location)


def test_a_connection_that_was_idle_is_looked_at(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `poll` too it is seen that the server has closed it, and another one is opened."""
    monkeypatch.setattr(pool, "_IDLE", 0.0)
    store = RedisBackend(redis_server.url)
    store.set("n", b"1", None)
    redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert store.incr("n", 1) == 2  # which is not sent twice
    store.close()


def test_time_is_out_whatever_the_step_of_the_clock(own_redis: RedisServer) -> None:
    """A socket that waited for long enough is not early because the clock has not moved."""
    store = RedisBackend(own_redis.url, deadline=0.6)
    connected = threading.Barrier(9)

    def ask(n: int) -> None:
        store.set("k", b"v", None)
        connected.wait()
        connected.wait()
        time.sleep(n * STEP / 8)  # so that one of them begins at each part of a step
        with pytest.raises(BackendUnavailable):
            store.get("k")

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, n) for n in range(8)]
        connected.wait()
        own_redis.freeze()
        connected.wait()
        for each in asked:
            each.result()
    own_redis.thaw()
    store.close()


def test_a_damaged_file_gives_way_to_a_new_one(store: SQLiteBackend, path: Path) -> None:
    """An open file cannot be moved, so all threads' connections are closed before."""
    seen, end = threading.Event(), threading.Event()

    def idle() -> None:
        store.get("k")
        seen.set()
        end.wait()

    thread = threading.Thread(target=idle)
    thread.start()
    seen.wait()
    damage(path)
    assert store.get("k") is None
    assert store.set("k", b"w", None) is True
    assert store.get("k") == b"w"
    assert Path(f"{path}.corrupt").exists()
    end.set()
    thread.join()


def test_a_damaged_file_that_others_have_open_is_a_miss(store: SQLiteBackend, path: Path) -> None:
    """Nothing is stored in it nor raised by a read, and it is replaced when they let go."""
    with open(path, "rb"):
        damage(path)
        assert store.get("k") is None
        assert store.set("k", b"w", None) is False
        with pytest.raises(BackendUnavailable, match="cannot be moved aside"):
            store.delete("k")
    assert store.set("k", b"w", None) is True
    assert store.get("k") == b"w"


def test_a_drive_that_is_not_there_is_an_error() -> None:
    """It is above itself, so that looking for what is there ends with it."""
    assert ntpath.dirname("Z:\\") == "Z:\\"
    with pytest.raises(FileNotFoundError):
        make_folders("")


def test_opening_waits_for_the_lock_beside_the_file(store: SQLiteBackend, path: Path) -> None:
    """The lock of the library is one that other programs have to respect, and ours does."""
    store.close()
    with open(f"{path}-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeadlineExceeded):
            store.get("k")
    assert store.get("k") == b"v"


def damage(path: Path) -> None:
    """Overwrite all but the header of a database, its log included."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))
