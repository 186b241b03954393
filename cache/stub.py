"""What stands under a key while its value is being computed.

A stub is a claim to compute: a byte that begins no entry and no counter, the process, and a
random token. It has a bounded life, stands in the value's own key, and is a missing value to
every operation. So each write or removal of the key, by other programs too, ends the claim.
"""

import os
import secrets
from typing import Any, Final

STUB_MAGIC: Final = b"\xf3"
_PROCESS_SIZE: Final = 8
_TOKEN_SIZE: Final = 8

STUB_SIZE: Final = len(STUB_MAGIC) + _PROCESS_SIZE + _TOKEN_SIZE
"""Bytes of a stub."""


class Stub(bytes):
    """A stub, which is told from equal bytes by its type where objects are kept."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Stub {self.hex()[2:]}>"


def new_stub() -> Stub:
    """Return a claim of this process that equals no other."""
    return Stub(STUB_MAGIC + _process() + secrets.token_bytes(_TOKEN_SIZE))


def resting_stub() -> Stub:
    """Return one that nobody computes under: a refresh has failed, and the next one is later."""
    return Stub(STUB_MAGIC + _process() + bytes(_TOKEN_SIZE))


def rests(stub: bytes) -> bool:
    """Tell whether nobody computes under `stub`."""
    return stub.endswith(bytes(_TOKEN_SIZE))


def is_stub(stored: Any, holds_objects: bool = False) -> bool:
    """Tell whether what a store keeps is a stub; of a store of objects only a `Stub` is one."""
    if holds_objects or type(stored) is not bytes:
        return type(stored) is Stub
    return len(stored) == STUB_SIZE and stored.startswith(STUB_MAGIC)


def is_of_this_process(stub: bytes) -> bool:
    """Tell whether `stub` was made here, and not by the process that this one was forked from."""
    return stub[1 : 1 + _PROCESS_SIZE] == _process()


def _process() -> bytes:
    """Return a name of this process that no other has, on this machine or another."""
    pid = os.getpid()
    name = _names.get(pid)
    # Of threads that come first together, one names it.
    return name or _names.setdefault(pid, secrets.token_bytes(_PROCESS_SIZE))


_names: dict[int, bytes] = {}
