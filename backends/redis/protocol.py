"""Which reply can be the one to a command, so that no other is ever taken for it.

Replies of RESP do not name what they are to. A server or a proxy that is one reply off,
or that is malicious, shows by a reply of another kind, or by an array of another length.
"""

import re
from collections.abc import Callable
from types import NoneType
from typing import Any, Final

from twofold.backends.network import Reply, ReplyError, WireProtocol
from twofold.backends.redis import commands, scripts
from twofold.backends.redis.replies import new_reader
from twofold.metadata import has_metadata

_HEAD: Final = 1024  # bytes of a command that tell enough of it: all but some values
_GET: Final = commands.get("").packed[:13]
_PTTL: Final = commands.pttl("").packed[:14]
_MGET: Final = b"$4\r\nMGET\r\n"  # there too
_ONE: Final = ord("1")
_SET: Final = b"$3\r\nSET\r\n"  # behind the number of parts
_SCRIPT: Final = b"$7\r\nEVALSHA\r\n$40\r\n"  # there too
_DIGEST: Final = slice(4 + len(_SCRIPT), 4 + len(_SCRIPT) + 40)
_OF_GET: Final = frozenset({bytes, NoneType, ReplyError})
_PARTS_WITH_GET: Final = (b"*5", b"*7")
_WITH_GET: Final = b"\r\n$2\r\nNX\r\n$3\r\nGET\r\n"
_SLOTS: Final = 16384
_MAYBE_TEXT: Final = frozenset({bytes, NoneType})
_begins_mget = re.compile(rb"\*(\d{1,10})\r\n\$4\r\nMGET\r\n").match
_is_integer = re.compile(rb"-?\d{1,19}").fullmatch
_is_cursor = re.compile(rb"\d{1,20}").fullmatch
_is_host = re.compile(rb"[\w.:%?-]{0,255}").fullmatch


def matches(packed: bytes, reply: Reply) -> bool:
    """Tell whether `reply` can be the one to the command `packed`."""
    if packed.startswith(_GET):  # the usual cases first; what follows is the same, slower
        return type(reply) in _OF_GET
    if type(reply) is int and packed.startswith(_PTTL):
        return reply >= -2
    if packed.startswith(_SET, 4) and (reply == b"OK" or _is_before(packed, reply)):
        return True
    if packed.startswith(_MGET, 4) and type(reply) is list:  # of so few keys that one digit tells
        return len(reply) == packed[1] - _ONE and _MAYBE_TEXT.issuperset(map(type, reply))
    if type(reply) is ReplyError:
        return True
    if packed.startswith(_SCRIPT, 4) and (matching := _OF_SCRIPT.get(packed[_DIGEST])):
        return matching(reply)
    if mget := _begins_mget(packed):
        return _are_values(int(mget[1]) - 1, reply)
    # The command is parsed again here, so that the hot path carries nothing but bytes.
    lines = packed[:_HEAD].split(b"\r\n", 5)
    if matching := _MATCHING.get(lines[2]):
        return matching(reply)
    return _MATCHING_BY_COMMAND[lines[2]](lines, reply)


def _is_before(packed: bytes, reply: Reply) -> bool:
    """Tell whether `reply` can be the value before a `SET … GET`."""
    # A value could end like that too, but then the command has fewer parts.
    return _is_value(reply) and packed.endswith(_WITH_GET) and packed[:2] in _PARTS_WITH_GET


def _is_ok(reply: Reply) -> bool:
    return _equals(reply, b"OK")


def _equals(reply: Reply, text: bytes) -> bool:
    return type(reply) is bytes and reply == text


def _is_text(reply: Reply) -> bool:
    return type(reply) is bytes


def _is_value(reply: Reply) -> bool:
    return type(reply) in _MAYBE_TEXT


def _are_values(count: int, reply: Reply) -> bool:
    if type(reply) is not list or len(reply) != count:
        return False
    return _MAYBE_TEXT.issuperset(map(type, reply))


def _arguments(lines: list[bytes]) -> int:
    return int(lines[0][1:]) - 1


def _is_flag(reply: Reply) -> bool:
    return type(reply) is int and reply in (0, 1)


def _is_count(lines: list[bytes], reply: Reply) -> bool:
    return type(reply) is int and 0 <= reply <= _arguments(lines)


def _is_life(reply: Reply) -> bool:
    return type(reply) is int and reply >= -2


def _is_sum(reply: Reply) -> bool:  # or described, in one call less
    if type(reply) is bytes:
        return _is_integer(reply) is not None
    return reply is None or (type(reply) is int and reply == scripts.DESCRIBED)


def _is_added(reply: Reply) -> bool:
    return reply is None or _equals(reply, b"")


def _or_described(matching: Callable[[Reply], bool]) -> Callable[[Reply], bool]:
    return lambda reply: (type(reply) is int and reply == scripts.DESCRIBED) or matching(reply)


def _are_deleted(lines: list[bytes], reply: Reply) -> bool:
    count, *heads = reply if type(reply) is list and reply else (reply,)
    most = _arguments(lines) - 2 - len(heads)
    return type(count) is int and 0 <= count <= most and all(map(has_metadata, heads))


def _is_of_script(lines: list[bytes], reply: Reply) -> bool:
    if lines[4] in _OF_DELETE:
        return _are_deleted(lines, reply)
    return _OF_SCRIPT.get(lines[4], _is_flag)(reply)


def _are_replies(reply: Reply) -> bool:
    return reply is None or type(reply) is list


def _are_keys(reply: Reply) -> bool:
    if type(reply) is not list or [*map(type, reply)] != [bytes, list]:
        return False
    cursor, keys = reply
    return _is_cursor(cursor) is not None and all(type(key) is bytes for key in keys)


def _is_size(reply: Reply) -> bool:
    return type(reply) is int and reply >= 0


def _are_members(reply: Reply) -> bool:
    return type(reply) is list and all(type(each) is bytes for each in reply)


def _are_flags(lines: list[bytes], reply: Reply) -> bool:
    return type(reply) is list and len(reply) == _arguments(lines) - 1 and all(map(_is_flag, reply))


def _is_of_cluster(lines: list[bytes], reply: Reply) -> bool:
    return _is_text(reply) if lines[4] == b"INFO" else _are_slots(reply)


def _are_slots(reply: Reply) -> bool:
    return type(reply) is list and all(map(_is_range, reply))


def _is_range(row: Any) -> bool:
    """Tell whether `row` is a first slot, a last one, and the addresses that have them."""
    if type(row) is not list or len(row) < 3 or {*map(type, row[:2])} != {int}:
        return False
    return 0 <= row[0] <= row[1] < _SLOTS and all(map(is_address, row[2:]))


def is_address(node: Any) -> bool:
    """Tell whether `node` begins with a host, which may be missing, and a port."""
    if type(node) is not list or len(node) < 2:
        return False
    host, port = node[:2]
    named = host is None or (type(host) is bytes and _is_host(host) is not None)
    return named and type(port) is int and 0 <= port < 65536


def _is_role(reply: Reply) -> bool:
    return type(reply) is list and type(reply[:1] and reply[0]) is bytes


def _is_place(reply: Reply) -> bool:
    """Tell whether a sentinel has named a host and a port, or knows of none."""
    if reply is None:
        return True
    if type(reply) is not list or [*map(type, reply)] != [bytes, bytes]:
        return False
    return reply[1].isdigit() and len(reply[1]) < 6 and is_address([reply[0], int(reply[1])])


_OF_DELETE: Final = frozenset({scripts.DELETE.digest, scripts.DELETE.text})
_OF_SCRIPT: Final[dict[bytes, Callable[[Reply], bool]]] = {
    name: matching
    for script, matching in (
        (scripts.ADD, _or_described(_is_added)),
        (scripts.GET_OR_CLAIM, _is_value),
        (scripts.HAS, _or_described(_is_flag)),
        (scripts.INCR, _is_sum),
        (scripts.SET_AND_DELETE, _is_ok),
        (scripts.TOUCH, _or_described(_is_flag)),
        (scripts.TTL, _or_described(_is_life)),
    )
    for name in (script.digest, script.text)
}
_OF_STRUCTURES: Final[dict[bytes, Callable[[Reply], bool]]] = {
    name: matching
    for names, matching in (
        (b"SADD SCARD SDIFFSTORE SINTERSTORE SUNIONSTORE SREM HSET HDEL HLEN", _is_size),
        (b"ZADD ZCARD ZCOUNT ZREM ZREMRANGEBYSCORE", _is_size),
        (b"SISMEMBER SMOVE HEXISTS", _is_flag),
        (b"SDIFF SINTER SMEMBERS SUNION HKEYS HGETALL ZPOPMAX ZPOPMIN", _are_members),
        (b"ZRANGE ZRANGEBYSCORE ZREVRANGE ZREVRANGEBYSCORE", _are_members),
        (b"HGET ZINCRBY ZSCORE", _is_value),
        (b"SPOP SRANDMEMBER", lambda reply: _is_value(reply) or _are_members(reply)),
        (b"SSCAN", _are_keys),
        (b"ZRANK", lambda reply: reply is None or _is_size(reply)),
    )
    for name in names.split()
}
_MATCHING: Final[dict[bytes, Callable[[Reply], bool]]] = {
    b"ASKING": _is_ok,
    b"AUTH": _is_ok,
    b"CLIENT": _is_ok,
    b"CONFIG": lambda reply: type(reply) is list,
    b"EXEC": _are_replies,
    b"FLUSHDB": _is_ok,
    b"GET": _is_value,
    b"HELLO": lambda reply: type(reply) is list,
    b"INFO": _is_text,
    b"GETRANGE": _is_text,
    b"MULTI": _is_ok,
    b"PING": lambda reply: _equals(reply, b"PONG"),
    b"PTTL": _is_life,
    b"QUEUED": lambda reply: _equals(reply, b"QUEUED"),
    b"ROLE": _is_role,
    b"SCAN": _are_keys,
    b"SELECT": _is_ok,
    b"SENTINEL": _is_place,
    b"SET": _is_ok,
    b"UNWATCH": _is_ok,
    b"WATCH": _is_ok,
    **_OF_STRUCTURES,
}
_MATCHING_BY_COMMAND: Final[dict[bytes, Callable[[list[bytes], Reply], bool]]] = {
    b"CLUSTER": _is_of_cluster,
    b"EVAL": _is_of_script,
    b"EVALSHA": _is_of_script,
    b"SMISMEMBER": _are_flags,
    b"UNLINK": _is_count,
}

_UNWELL: Final = frozenset({"BUSY", "LOADING", "MASTERDOWN"})


def is_unwell(error: ReplyError) -> bool:
    """Tell whether a server refuses all commands until it is ready, or a script has ended."""
    return error.code in _UNWELL


# A read, since PING is no test of one: Redis 6.2 answers it while it has lost its primary, and
# proxies by themselves. That a server of a cluster has the key elsewhere is an answer too.
_PROBE: Final = commands.get("twofold:ping").packed

RESP: Final = WireProtocol(new_reader, matches, commands.PING, _PROBE, is_unwell)
