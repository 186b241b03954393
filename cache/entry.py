"""What is stored: counters as digits, everything else in an envelope.

An envelope is

    magic       1 byte   0xF2, which begins no counter
    version     1 byte   1
    flags       1 byte   1: signed; 2: metadata precede the payload (reserved)
    codec       1 byte   the serializer's code * 16 + the compressor's code
    check       4 bytes  CRC-32, big-endian; or, signed, 20 bytes of keyed BLAKE2b
    body                 the payload as serialized, and compressed if that helps

    serializers          0 a signed number, 1 msgpack, 2 json, 3 pickle, 15 a third party's
    compressors          0 none, 1 zlib, 2 zstd, 3 lz4

The check is over the first four bytes, the serializer's name (none for a number), 0xFF, in a
signature the context and 0xFF, the key, 0xFF, and the body. It is verified before anything is
unpacked or decoded, so that a damaged entry, or one copied under another key, is a miss; and
only the configured serializer and compressor ever decode. A CRC guards against accidents;
against somebody who can write to the store it takes a signature. Where counters are bare they
have neither, for a server to add to them.

In-process stores keep objects instead: see `Objects`.
"""

from collections.abc import Callable
from enum import Enum
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final, Literal, Protocol, TypeAlias
from zlib import crc32

from twofold import counter
from twofold.codecs.compressors import Compressor, resolve_compressor
from twofold.codecs.immutables import ATOMS
from twofold.codecs.limits import HEAVY, LIGHT, may_build
from twofold.codecs.refusal import refuse, refuse_awaitable
from twofold.codecs.serializers import Serializer, resolve_serializer
from twofold.errors import SettingsError
from twofold.interrupts import raise_if_of_others
from twofold.settings import CacheConfig, entry_options, placed
from twofold.settings.config import Secret


class _Sentinel(Enum):
    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Sentinel.MISSING
"""No value, where None is one."""

Missing: TypeAlias = Literal[_Sentinel.MISSING]

MAX_PAYLOAD: Final = 64 * 1024 * 1024
"""Bytes at most that an entry unpacks to; a larger payload is stored uncompressed."""

_MAGIC = 0xF2
_VERSION = 1
_SIGNED = 1
_HEADER_SIZE = 4
_END = b"\xff"  # is in no UTF-8

_NUMBER = 0
_SERIALIZER_CODES = {"msgpack": 1, "json": 2, "pickle": 3}
_FOREIGN = 15
_COMPRESSORS = {None: 0, "zlib": 1, "zstd": 2, "lz4": 3}


class Codec(Protocol):
    """What turns values into what a store keeps, and back."""

    @property
    def plain(self) -> frozenset[type]:
        """The types of what is kept that is the value itself: `load` need not be called."""

    damaged: int
    """How many entries could not be read."""

    signs_numbers: bool
    """Whether counters are signed, so that no store can add to them."""

    def dump(self, key: str, value: Any) -> Any:
        """Return what to store under `key`, never None; raise `CannotSerialize`."""

    def load(self, key: str, stored: Any) -> Any | Missing:
        """Return the value stored under `key`; MISSING, whatever is wrong with it."""


def codec_for(config: CacheConfig, holds_objects: bool) -> Codec:
    """Return the codec that `config` asks for, for a store of objects or of bytes.

    Raises:
        SettingsError: `SERIALIZER`, `COMPRESSOR` or `SECRET` asks for what cannot be.
    """
    with placed(config.where()):
        serializer = None if config.serializer is None else resolve_serializer(config.serializer)
        compressor = resolve_compressor(config.compressor)
        if holds_objects:
            return Objects(serializer)
        if serializer is None:
            raise SettingsError(
                "SERIALIZER None keeps objects as they are, but the store keeps bytes:"
                " name a serializer, or leave SERIALIZER out"
            )
        return Envelope(
            serializer, compressor, config.compress_min, config.secret, **entry_options(config)
        )


class Envelope:
    """Values to bytes and back, for stores that keep bytes.

    Args:
        serializer: makes and reads the payload.
        compressor: makes it smaller; entries of another one are misses.
        compress_min: bytes of payload from which compression is tried.
        secret: signs every entry; entries without its signature are misses. Of several,
            the first signs, and the signatures of the others count as well.
        context: text that the signature covers; entries of another are misses.
        numbers: whether counters are "signed" as well, or "bare" for a store to add to;
            None signs them where there is a secret.

    Raises:
        SettingsError: the secret is too short, or is missing where it is needed.
    """

    plain: Final[frozenset[type]] = frozenset()

    def __init__(
        self,
        serializer: Serializer,
        compressor: Compressor | None = None,
        compress_min: int = 256,
        secret: Secret | None = None,
        *,
        context: str = "",
        numbers: Literal["signed", "bare"] | None = None,
    ) -> None:
        self.damaged: int = 0
        if secret is None:
            _need_no_secret(context, numbers)
        self.signs_numbers: bool = secret is not None and numbers != "bare"
        self._serializer = serializer
        self._compressor = compressor
        self._compress_min = compress_min
        self._check: _Check = _Checksum() if secret is None else _Signature(secret, context)
        self._holds: Callable[[Any, str, bytes, bytes], bool] = self._check.holds
        self._body_at = _HEADER_SIZE + self._check.size
        self._loads = serializer.loads_foreign if secret is None else serializer.loads
        self._errors: tuple[type[Exception], ...] = (*serializer.errors, ValueError)
        self._plain, self._packed, self._number = self._headers()
        self._known = self._readers()

    def __repr__(self) -> str:
        compressor = self._compressor and self._compressor.name
        kind = "signed" if self._check.flag else "unsigned"
        return f"<{type(self).__name__} {self._serializer.name} {compressor} {kind}>"

    def dump(self, key: str, value: Any) -> bytes:
        """Return what to store under `key`; raise `CannotSerialize` if that cannot be."""
        if counter.is_counter(value):
            header, body = self._number, counter.write(value)
            if not self.signs_numbers:
                return body
        else:
            header, body = self._plain, self._serializer.dumps(value)
            if self._compressor is not None and self._compress_min <= len(body) <= MAX_PAYLOAD:
                packed = self._compressor.compress(body)
                if len(packed) < len(body) and self._may_become(body, len(packed)):
                    header, body = self._packed, packed
            if len(body) > HEAVY and not self._may_become(body, len(body)):
                raise refuse(self._serializer.name, value, "read back, it might take a gigabyte")
        return header + self._check.over(self._known[header][0], key, body) + body

    def load(self, key: str, stored: bytes) -> Any | Missing:
        """Return the value stored under `key`; MISSING, whatever is wrong with it."""
        value: Any = MISSING
        if type(stored) is bytes:
            known = self._known.get(stored[:_HEADER_SIZE])
            if known is not None:
                beginning, read = known
                body = stored[self._body_at :]
                if self._holds(beginning, key, body, stored[_HEADER_SIZE : self._body_at]):
                    try:
                        value = read(body)
                    except self._errors as error:
                        raise_if_of_others(error)
            elif not self.signs_numbers:
                number = counter.read(stored)
                value = MISSING if number is None else number
        if value is MISSING:
            self.damaged += 1
        return value

    def _headers(self) -> tuple[bytes, bytes, bytes]:
        """Return the headers of what is plain, of what is compressed, and of numbers."""
        serializer = _SERIALIZER_CODES.get(self._serializer.name, _FOREIGN)
        compressor = _COMPRESSORS[self._compressor.name if self._compressor else None]
        codecs = (serializer << 4, serializer << 4 | compressor, _NUMBER)
        plain, packed, number = (
            bytes((_MAGIC, _VERSION, self._check.flag, codec)) for codec in codecs
        )
        return plain, packed, number

    def _readers(self) -> dict[bytes, tuple[Any, Callable[[bytes], Any]]]:
        """Return the beginnings of checks, and what reads a body, by header."""
        name = self._serializer.name
        known: dict[bytes, tuple[Any, Callable[[bytes], Any]]] = {}
        known[self._packed] = (self._check.begin(self._packed, name), self._unpack)
        known[self._plain] = (self._check.begin(self._plain, name), self._loads)
        if self.signs_numbers:
            known[self._number] = (self._check.begin(self._number, ""), _read_number)
        return known

    def _unpack(self, body: bytes) -> Any:
        assert self._compressor is not None  # noqa: S101
        if self._check.flag:
            return self._loads(self._compressor.decompress(body, MAX_PAYLOAD))
        payload = self._compressor.decompress(body, min(MAX_PAYLOAD, may_build(len(body))))
        if len(payload) > LIGHT:
            self._serializer.bound(payload, len(body))
        return self._loads(payload)

    def _may_become(self, body: bytes, size: int) -> bool:
        """Tell whether an entry of `size` bytes may become what `body` does."""
        if self._check.flag:
            return True
        if len(body) > may_build(size):
            return False
        try:
            self._serializer.bound(body, size)
        except ValueError:
            return False
        return True


def _need_no_secret(context: str, numbers: str | None) -> None:
    given = ["'context'"] if context else ["'numbers': 'signed'"] if numbers == "signed" else []
    if given:
        raise SettingsError(f"OPTIONS[{given[0]}] is about signatures: set SECRET, or leave it out")


def _read_number(body: bytes) -> Any | Missing:
    number = counter.read(body)
    return MISSING if number is None else number


class _Check(Protocol):
    """What tells a sound entry from any other."""

    flag: int
    size: int

    def begin(self, header: bytes, name: str) -> Any:
        """Return the state after a header and a serializer's name, for many entries."""

    def over(self, beginning: Any, key: str, body: bytes) -> bytes:
        """Return the check of `key` and `body` after a beginning."""

    def holds(self, beginning: Any, key: str, body: bytes, check: bytes) -> bool:
        """Tell whether `check` is what `over` returns."""


class _Checksum:
    flag = 0
    size = 4

    def begin(self, header: bytes, name: str) -> int:
        return crc32(header + name.encode() + _END)

    def over(self, beginning: int, key: str, body: bytes) -> bytes:
        return crc32(body, crc32(key.encode() + _END, beginning)).to_bytes(4, "big")

    def holds(self, beginning: int, key: str, body: bytes, check: bytes) -> bool:
        return crc32(body, crc32(key.encode() + _END, beginning)) == int.from_bytes(check, "big")


class _Signature:
    flag = _SIGNED
    size = 20

    def __init__(self, secret: Secret, context: str) -> None:
        several: Any = secret if isinstance(secret, list | tuple) else [secret]
        self._keys = [_signing_key(each) for each in several]
        self._context = context.encode("utf-8", "surrogatepass")

    def begin(self, header: bytes, name: str) -> list[blake2b]:
        head = header + name.encode() + _END + self._context + _END
        return [
            blake2b(head, key=key, digest_size=self.size, person=b"twofold") for key in self._keys
        ]

    def over(self, beginning: list[blake2b], key: str, body: bytes) -> bytes:
        return _sign(beginning[0], key, body)

    def holds(self, beginning: list[blake2b], key: str, body: bytes, check: bytes) -> bool:
        return any(compare_digest(check, _sign(each, key, body)) for each in beginning)


def _sign(beginning: blake2b, key: str, body: bytes) -> bytes:
    signature = beginning.copy()
    signature.update(key.encode() + _END)
    signature.update(body)
    return signature.digest()


def _signing_key(secret: str | bytes) -> bytes:
    if not isinstance(secret, str | bytes) or not secret:
        raise SettingsError(
            "SECRET must be a text or bytes, and not empty; leave it out to sign nothing"
        )
    key = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()


class Packed:
    """A value that an in-process store keeps as bytes, for each reader to have a copy."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self.data)} bytes>"

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, Packed) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.data.__sizeof__()


_NONE = Packed(b"")


class Objects:
    """Values to objects and back, for stores in this process.

    Immutable values, and counters for the store to add to, are kept as they are, others
    as `Packed`. Nothing is kept as None, which means a missing key to a store.

    Args:
        serializer: makes private copies; with None every value is kept as it is, and
            shared by all who read it.
    """

    plain: Final[frozenset[type]] = ATOMS
    signs_numbers: bool = False

    def __init__(self, serializer: Serializer | None) -> None:
        self.damaged: int = 0
        self._serializer = serializer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._serializer and self._serializer.name}>"

    def dump(self, key: str, value: Any) -> Any:
        """Return what to keep; raise `CannotSerialize` if that cannot be."""
        serializer = self._serializer
        if serializer is None:
            if type(value) not in ATOMS:
                refuse_awaitable(value)
            return _NONE if value is None else value
        if value is not None and (serializer.keeps(value) or counter.is_counter(value)):
            return value
        return Packed(serializer.dumps(value))

    def load(self, key: str, stored: Any) -> Any | Missing:
        """Return the value; MISSING if it cannot be read back."""
        return stored if type(stored) is not Packed else self._unpack(stored)

    def _unpack(self, stored: Packed) -> Any | Missing:
        if self._serializer is None:
            return None
        try:
            return self._serializer.loads(stored.data)
        except self._serializer.errors as error:
            raise_if_of_others(error)
            self.damaged += 1
            return MISSING
