"""Redis behind sentinels and in a cluster: servers change places, and callers hardly notice."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.chaos import (
    ClusterNode,
    RedisCluster,
    RedisSentinels,
    SlotMove,
    Stalls,
    eventually,
)
from tests.network_load import KEYS, Load, value_of
from twofold.backends.redis import RedisBackend
from twofold.errors import BackendUnavailable
from twofold.testing import FACES

BACK_WITHIN = 3.0  # seconds from a promotion to success
DEADLINE = 1.0
UNHURRIED = 20.0  # where a connection that is given up cannot be made again


@contextmanager
def behind(sentinels: RedisSentinels, deadline: float = DEADLINE) -> Iterator[RedisBackend]:
    """Make a backend that knows the sentinels alone."""
    backend = RedisBackend(sentinels.sentinel_urls, sentinel=sentinels.service, deadline=deadline)
    yield backend
    backend.close()


@contextmanager
def within(cluster: RedisCluster) -> Iterator[RedisBackend]:
    """Make a backend that knows one server of a cluster."""
    backend = RedisBackend(cluster.urls[0], cluster=True, deadline=DEADLINE)
    yield backend
    backend.close()


# Sentinels


def test_an_ordered_failover(redis_sentinels: RedisSentinels, stalls: Stalls) -> None:
    """When primary and replica change places under load, every worker goes on in 3 s."""
    with behind(redis_sentinels) as backend, Load(backend) as load:
        old = redis_sentinels.primary
        redis_sentinels.failover()
        load.await_success(BACK_WITHIN + stalls.longest)
        assert redis_sentinels.primary is not old
        assert load.longest < 2 * DEADLINE + stalls.longest


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_a_primary_is_lost(own_sentinels: RedisSentinels, harm: str, stalls: Stalls) -> None:
    """When the primary dies or hangs under load, every worker goes on in 3 s from promotion."""
    with behind(own_sentinels) as backend, Load(backend) as load:
        old, before = own_sentinels.primary, time.monotonic()
        getattr(old, harm)()
        load.await_failure()
        own_sentinels.await_failover(old)
        promoted = time.monotonic()
        load.await_success(BACK_WITHIN + stalls.longest)
        print(f"{promoted - before:.2f} s to promote, {time.monotonic() - promoted:.2f} s more")
        assert load.longest < 2 * DEADLINE + stalls.longest


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_two_sentinels_are_lost(own_sentinels: RedisSentinels, harm: str) -> None:
    """When the first two sentinels are dead or silent, the last one tells where the primary is."""
    for sentinel in own_sentinels.sentinels[:2]:
        getattr(sentinel, harm)()
    for face in FACES:
        with behind(own_sentinels) as backend:
            assert face.run(face.view(backend).set("k", b"v", 60))
            assert face.run(face.view(backend).get("k")) == b"v"


def test_all_sentinels_are_lost(own_sentinels: RedisSentinels) -> None:
    """Who is connected goes on without sentinels, and who is not is told of them."""
    with behind(own_sentinels, UNHURRIED) as old, behind(own_sentinels) as new, Load(old) as load:
        for sentinel in own_sentinels.sentinels:
            sentinel.kill()
        load.await_success()
        assert not load.failed
        for face in FACES:
            with pytest.raises(BackendUnavailable, match="sentinels"):
                face.run(face.view(new).get("k"))
        own_sentinels.sentinels[2].start()
        for face in FACES:
            view = face.view(new)
            eventually(lambda: face.run(_succeeds(view)), "success", BACK_WITHIN)  # noqa: B023


async def _succeeds(store: Any, key: str = "k") -> bool:
    try:
        return bool(await store.set(key, value_of(key), 60))
    except BackendUnavailable:
        return False


# Clusters


def test_a_slot_moves_under_load(redis_cluster: RedisCluster) -> None:
    """At every step of a slot's move there and back all calls succeed, and nothing is missed."""
    names = [f"{{moving}}:{n}" for n in range(100)]
    kept = {f"{{moving}}:kept:{n}": value_of(f"kept:{n}") for n in range(30)}
    with within(redis_cluster) as backend, Load(backend, [*names, *KEYS]) as load:
        assert backend.set_many(kept, 60) == []

        def check() -> None:
            load.await_success()
            for face in FACES:
                assert face.run(face.view(backend).get_many(list(kept))) == kept
                for key, value in kept.items():
                    assert face.run(face.view(backend).get(key)) == value

        slot = redis_cluster.slot_of(names[0])
        source = redis_cluster.node_of(slot)
        target = next(node for node in redis_cluster.nodes if node is not source)
        for to in (target, source):
            move = SlotMove(redis_cluster, slot, to)
            move.begin()
            check()
            move.carry(20)
            check()
            move.carry()
            check()
            move.end()
            check()
    assert not load.failed


def test_a_cluster_promotes_a_replica(
    own_cluster: RedisCluster, request: pytest.FixtureRequest, stalls: Stalls
) -> None:
    """When a primary is killed under load, all goes on once its replica has taken its place."""
    request.addfinalizer(gc.enable)
    gc.disable()  # what is left open is not to be closed by chance
    with within(own_cluster) as backend, Load(backend) as load:
        killed = own_cluster.node_of(own_cluster.slot_of(KEYS[0]))
        killed.kill()
        load.await_failure()
        own_cluster.await_agreement()
        load.await_success(BACK_WITHIN + stalls.longest)
        for face in FACES:
            view = face.view(backend)
            for key in KEYS:
                eventually(lambda: face.run(_succeeds(view, key)), f"{key} is set", BACK_WITHIN)  # noqa: B023
        assert load.longest < 2 * DEADLINE + stalls.longest
    ports = {node.port for node in own_cluster.nodes}
    mine = psutil.Process().net_connections("tcp")
    assert not [each for each in mine if each.raddr and each.raddr.port in ports]


def _parted(cluster: RedisCluster, node: ClusterNode) -> tuple[list[str], list[str]]:
    """Return the keys of a node, and those of the others."""
    owners = node.owners()
    there = [key for key in KEYS if owners[cluster.slot_of(key)] == node.port]
    return there, [key for key in KEYS if key not in there]


@pytest.mark.usefixtures("_guard")
def test_a_node_without_a_replica_is_killed(tmp_path: Path, stalls: Stalls) -> None:
    """All keys fail while the cluster calls itself down, then its own alone, in the end none."""
    with RedisCluster(tmp_path) as cluster, within(cluster) as backend:
        lost = cluster.nodes[1]
        its_own, of_others = _parted(cluster, lost)
        with Load(backend, of_others) as others, Load(backend, its_own) as own:
            lost.kill()
            own.await_failure()
            others.await_failure()
            _cover_fully(cluster, "no")
            others.await_success()
            for _ in range(3):  # a node that is short of time may call a healthy one lost
                eventually(lambda: _goes_well_beside(others, own), "only some keys fail")
            lost.start()
            cluster.await_agreement()
            own.await_success(BACK_WITHIN + stalls.longest)
            others.await_success(BACK_WITHIN + stalls.longest)
            assert max(own.longest, others.longest) < 2 * DEADLINE + stalls.longest


def _goes_well_beside(others: Load, own: Load) -> bool:
    """Whether, while one load goes on failing, the other one does not."""
    before = others.failed
    own.await_failure()
    others.await_success()
    return others.failed == before


def _cover_fully(cluster: RedisCluster, answer: str) -> None:
    """Tell the nodes whether the cluster is down when slots are without a server."""
    for node in cluster.nodes:
        if node.alive:
            node.command("CONFIG", "SET", "cluster-require-full-coverage", answer)
