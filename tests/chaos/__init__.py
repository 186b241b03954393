"""The fault harness: real servers that are frozen and killed, and a proxy that harms what passes.

Tests take its fixtures, which `fixtures` lists. What is not a test takes the classes:

    RedisServer, MemcachedServer   a server: start, stop, kill, freeze, thaw, restart
    RedisCluster, SlotMove         nodes; a slot that is moved step by step
    RedisSentinels                 a primary, its replica, and sentinels; failovers
    Certificates                   for a server with TLS
    Proxy                          delay, chunk, cut, lose a reply, reset, black hole, refuse
    Stalls                         for how long the machine stood still
    eventually                     waiting for what takes a moment
    healthy                        a call before anything is harmed, which no bound is for
    running                        another Python, gone after a block
"""

from tests.chaos.certificates import Certificates
from tests.chaos.cluster import ClusterNode, RedisCluster, SlotMove
from tests.chaos.leaks import Leak
from tests.chaos.patience import Stalls, eventually, healthy
from tests.chaos.processes import ServerDidNotStart, running
from tests.chaos.proxy import Proxy
from tests.chaos.resp import CommandFailed
from tests.chaos.sentinel import RedisSentinels, Sentinel
from tests.chaos.servers import MemcachedServer, RedisServer, Server

__all__ = [
    "Certificates",
    "ClusterNode",
    "CommandFailed",
    "Leak",
    "MemcachedServer",
    "Proxy",
    "RedisCluster",
    "RedisSentinels",
    "RedisServer",
    "Sentinel",
    "Server",
    "ServerDidNotStart",
    "SlotMove",
    "Stalls",
    "eventually",
    "healthy",
    "running",
]
