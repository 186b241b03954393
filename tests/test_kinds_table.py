"""What can be cached is the same in every store that keeps bytes."""

from pathlib import Path

import pytest

from tests.chaos import MemcachedServer, RedisServer
from tests.kinds_table import rows


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What SQLite keeps."""
    return list(rows(f"sqlite:///{tmp_path_factory.mktemp('kinds')}/kinds.db"))


def test_files_keep_the_same(expected: list[list[str]], tmp_path: Path) -> None:
    """Of each kind, by each serializer."""
    assert list(rows(f"files:///{tmp_path}/kinds")) == expected


def test_redis_keeps_the_same(expected: list[list[str]], redis_server: RedisServer) -> None:
    """Of each kind, by each serializer."""
    assert list(rows(redis_server.url)) == expected


def test_memcached_keeps_the_same(
    expected: list[list[str]], memcached_server: MemcachedServer
) -> None:
    """Of each kind, by each serializer."""
    assert list(rows(f"memcached://{memcached_server.address}")) == expected
