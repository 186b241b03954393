"""Compressors, none of which can be made to unpack more than it is allowed to."""

import zlib
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Generic, Protocol, TypeVar

from twofold.errors import SettingsError
from twofold.spelling import did_you_mean

T = TypeVar("T")


class Compressor(Protocol):
    """What makes bytes fewer, and brings them back."""

    @property
    def name(self) -> str:
        """The name that `COMPRESSOR` gives."""

    def compress(self, data: bytes) -> bytes:
        """Return `data` in fewer bytes, where that is possible."""

    def decompress(self, data: bytes, limit: int) -> bytes:
        """Return what was compressed.

        Raises:
            ValueError: `data` is damaged, or unpacks to more than `limit` bytes; no more
                than about `limit` bytes of memory were taken to find out.
        """


class Zlib:
    """zlib of the standard library, at its fastest level."""

    name: Final = "zlib"

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data, 1)

    def decompress(self, data: bytes, limit: int) -> bytes:
        unpacker = zlib.decompressobj()
        try:
            unpacked = unpacker.decompress(data, limit + 1)
        except zlib.error as exc:
            raise ValueError("damaged zlib data") from exc
        if len(unpacked) > limit:
            raise _too_large(limit)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("cut or overlong zlib data")
        return unpacked


class Zstd:
    """Zstandard, by the package `zstandard`."""

    name: Final = "zstd"

    def __init__(self) -> None:
        self._zstd = _driver("zstandard", self.name)
        self._packers = _Spares(self._zstd.ZstdCompressor)
        self._unpackers = _Spares(self._zstd.ZstdDecompressor)

    def compress(self, data: bytes) -> bytes:
        packer = self._packers.take()
        packed: bytes = packer.compress(data)
        self._packers.give_back(packer)
        return packed

    def decompress(self, data: bytes, limit: int) -> bytes:
        try:
            _check_size(self._zstd.frame_content_size(data), limit)
            unpacker = self._unpackers.take()
            unpacked: bytes = unpacker.decompress(data, allow_extra_data=False)
        except self._zstd.ZstdError as exc:
            raise ValueError("damaged zstd data") from exc
        self._unpackers.give_back(unpacker)
        return unpacked


class LZ4:
    """LZ4 blocks that begin with their size, by the package `lz4`."""

    name: Final = "lz4"

    def __init__(self) -> None:
        self._lz4 = _driver("lz4.block", self.name)

    def compress(self, data: bytes) -> bytes:
        packed: bytes = self._lz4.compress(data)
        return packed

    def decompress(self, data: bytes, limit: int) -> bytes:
        most = min(limit, _LZ4_TIMES * len(data))  # what no block exceeds, whatever it says
        _check_size(int.from_bytes(data[:4], "little"), most)
        try:
            unpacked: bytes = self._lz4.decompress(data)
        except self._lz4.LZ4BlockError as exc:
            raise ValueError("damaged lz4 data") from exc
        return unpacked


_LZ4_TIMES = 255


class _Spares(Generic[T]):
    """Contexts that are dear to make, each used by one thread at a time."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._idle: deque[T] = deque(maxlen=16)

    def take(self) -> T:
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()

    def give_back(self, spare: T) -> None:
        self._idle.append(spare)


_COMPRESSORS: Final[dict[str, Callable[[], Compressor]]] = {
    "zlib": Zlib,
    "zstd": Zstd,
    "lz4": LZ4,
}


def resolve_compressor(name: str | None) -> Compressor | None:
    """Return the compressor of that name, or None for None.

    Raises:
        SettingsError: there is none of that name, or its driver is not installed.
    """
    if name is None:
        return None
    make = _COMPRESSORS.get(name) if isinstance(name, str) else None
    if make is None:
        hint = did_you_mean(str(name), _COMPRESSORS)
        raise SettingsError(
            f"COMPRESSOR {name!r} is unknown{hint}: use 'zlib', 'zstd', 'lz4', or None for none"
        )
    return make()


def _driver(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ImportError as exc:
        raise SettingsError(
            f"COMPRESSOR {name!r} needs a package that is not installed: pip install '.[{name}]'"
        ) from exc


def _check_size(size: int, limit: int) -> None:
    if not 0 <= size <= limit:  # zstd tells -1 where it knows none
        raise _too_large(limit)


def _too_large(limit: int) -> ValueError:
    return ValueError(f"unpacks to more than {limit} bytes, or hides to how many")
