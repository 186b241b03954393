"""What a store of bytes keeps: counters as digits, everything else in an envelope.

An envelope is

    magic       1 byte   0xF2, which begins no counter
    version     1 byte   1
    flags       1 byte   1: signed; 2: metadata precede the payload; others: reserved
    codec       1 byte   128 if the payload is the data of a type + the serializer's code * 16
                         + the compressor's code
    check       4 bytes  CRC-32, big-endian; or, signed, 20 bytes of keyed BLAKE2b
    body                 metadata, if the flag says so; the mark of a type, 8 bytes, if the codec
                         says so; then the payload as serialized, and compressed if that helps

    serializers          0 a number's digits, 1 msgpack, 2 json, 3 pickle, 7 a third party's
    compressors          0 none, 1 zlib, 2 zstd, 3 lz4

The check is over the first four bytes, the serializer's name (none for a number), 0xFF, in a
signature the context and 0xFF, the key, 0xFF, and the body. It is verified before anything is
unpacked or decoded, so that a damaged entry, or one copied under another key, is a miss; and
only the configured serializer and compressor ever decode. A CRC guards against accidents;
against an attacker who can write to the store it takes a signature. Where counters are bare they
have neither, for a server to add to them.

An entry of a later version, or with a reserved flag, is a miss and no damage: a later release
wrote it. So is what begins with 0xF3, the stub of a claim.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from zlib import crc32

from twofold import counter, metadata
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.codecs.compressors import Compressor
from twofold.codecs.limits import HEAVY, LIGHT, may_build
from twofold.codecs.refusal import refuse
from twofold.codecs.serializers import Serializer
from twofold.counter import HIGHEST, LOWEST
from twofold.entry.checks import END, Check, Checksum, Signature, need_no_secret
from twofold.entry.codec import MARK_SIZE, MISSING, Entry, Keeps, Missing, keeps_of
from twofold.events import EntriesDamaged, emit
from twofold.interrupts import raise_if_of_others
from twofold.metadata import Meta, Metas
from twofold.settings.config import Secret

MAX_PAYLOAD: Final = 64 * 1024 * 1024
"""Bytes at most that an entry unpacks to; a larger payload is stored uncompressed."""

_MAGIC = 0xF2
_VERSION = 1
_DESCRIBED = 2
_HEADER_SIZE = 4
_STUB = b"\xf3"
_USUAL = Struct(">4sI")  # the header and the check of what is unsigned
_CHECK, _BODY = slice(_HEADER_SIZE, _USUAL.size), slice(_USUAL.size, None)  # of such an entry
_METADATA = metadata.SIZE

_new: Callable[[type[Entry], tuple[Any, Meta | None, bytes]], Entry] = tuple.__new__

_LATER_VERSION = bytes((_VERSION + 1,))
_RESERVED_FLAG = bytes((4,))

_TYPED = 128
_NUMBER = 0
_SERIALIZER_CODES = {"msgpack": 1, "json": 2, "pickle": 3}
_FOREIGN = 7
_COMPRESSORS = {None: 0, "zlib": 1, "zstd": 2, "lz4": 3}


_Readers: TypeAlias = tuple[Callable[[bytes], Any], Callable[[bytes], bytes] | None]
"""What reads a payload, and what unpacks it, as in a `_Form`."""


class _Form(NamedTuple):
    """How entries with one header are checked and read."""

    beginning: Any
    read: Callable[[bytes], Any]
    """Returns the value of a payload."""
    unpack: Callable[[bytes], bytes] | None
    """Returns a payload as the serializer made it; None for numbers, which it has no part in."""
    is_described: bool = False
    is_typed: bool = False


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
        clock: tells what is stale.

    Raises:
        SettingsError: the secret is too short, or is missing where it is needed.
    """

    unwrapped_types: Final[frozenset[type]] = frozenset()

    def __init__(
        self,
        serializer: Serializer,
        compressor: Compressor | None = None,
        compress_min: int = 256,
        secret: Secret | None = None,
        *,
        context: str = "",
        numbers: Literal["signed", "bare"] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.damaged: int = 0
        self.owner: str = ""
        if secret is None:
            need_no_secret(context, numbers)
        self.signs_numbers: bool = secret is not None and numbers != "bare"
        self.keeps: Keeps = keeps_of(serializer)
        self.serializer: str = serializer.name
        self._serializer = serializer
        self._compressor = compressor
        self._compress_min = compress_min
        self._check: Check = Checksum() if secret is None else Signature(secret, context)
        self._body_at = _HEADER_SIZE + self._check.size
        self._loads = serializer.loads_foreign if secret is None else serializer.loads
        self._errors: tuple[type[Exception], ...] = (*serializer.errors, ValueError)
        self._packed, self._plain, self._number = self._headers()
        self._clock = clock
        self._typed: dict[bytes, bytes] = {
            header: _with(header, codec=_TYPED) for header in (self._packed, self._plain)
        }
        self._described: dict[bytes, bytes] = {
            header: _with(header, flag=_DESCRIBED)
            for header in (self._packed, self._plain, self._number, *self._typed.values())
        }
        self._forms = self._plain_forms()
        self._other_forms: dict[bytes, _Form] = dict(self._forms_with_more())
        both = {head: form for head, form in self._other_forms.items() if form.is_described}
        self._described_forms: dict[bytes, _Form] = {
            header: form for header, form in both.items() if not form.is_typed
        }
        self._typed_forms: dict[bytes, _Form] = {
            header: form for header, form in both.items() if form.is_typed
        }
        if not self.signs_numbers:
            del self._forms[self._number]
        self._usual = self._plain if secret is None else None
        self._usual_beginning: Any = self._forms[self._plain].beginning
        described = self._described[self._plain]
        self._usual_described = described if secret is None else None
        self._described_beginning: Any = self._other_forms[described].beginning
        self._usual_typed = self._typed[self._plain] if secret is None else None
        self._typed_beginning: Any = self._other_forms[self._typed[self._plain]].beginning

    def __repr__(self) -> str:
        compressor = self._compressor and self._compressor.name
        kind = "signed" if self._check.flag else "unsigned"
        return f"<{type(self).__name__} {self._serializer.name} {compressor} {kind}>"

    def dump(self, key: str, value: Any, meta: Meta | None = None, mark: bytes = b"") -> bytes:
        """Return what to store under `key`; raise `CannotSerialize` if that cannot be."""
        # The first as `is_counter`, without its call.
        if type(value) is int and LOWEST <= value <= HIGHEST and not mark:
            header, body = self._number, counter.write(value)
            if meta is None and not self.signs_numbers:
                return body
        else:
            header, body = self._plain, self._serializer.dumps(value)
            if self._compressor is not None or len(body) > HEAVY:
                header, body = self._smaller(value, body)
        if mark or meta is not None:
            return self._with_more(key, header, body, meta, mark)
        if header is self._usual:
            check = crc32(body, crc32(key.encode() + END, self._usual_beginning))
            return _USUAL.pack(header, check) + body
        return header + self._check.over(self._forms[header].beginning, key, body) + body

    def _with_more(
        self, key: str, header: bytes, body: bytes, meta: Meta | None, mark: bytes
    ) -> bytes:
        if mark:
            header, body = self._typed[header], mark + body
        if meta is not None:
            header, body = self._described[header], metadata.write(meta) + body
        beginning = self._other_forms[header].beginning
        return header + self._check.over(beginning, key, body) + body

    def load(self, key: str, stored: bytes) -> Any | Missing:
        """Return the value stored under `key`; MISSING if it is stale, or whatever is wrong."""
        value: Any = MISSING
        if type(stored) is bytes:
            header = stored[:_HEADER_SIZE]
            if header == self._usual:  # as below, in fewer steps
                body = stored[_BODY]
                check = crc32(body, crc32(key.encode() + END, self._usual_beginning))
                if check.to_bytes(4, "big") == stored[_CHECK]:
                    try:
                        return self._loads(body)
                    except self._errors as error:
                        raise_if_of_others(error)
            elif header in self._forms:
                form = self._forms[header]
                body, own = stored[self._body_at :], stored[_HEADER_SIZE : self._body_at]
                if self._check.holds(form.beginning, key, body, own):
                    try:
                        value = form.read(body)
                    except self._errors as error:
                        raise_if_of_others(error)
            elif header in self._other_forms:
                return self._load_other(key, stored)
            elif not self.signs_numbers:
                number = counter.read(stored)
                if number is not None:
                    return number
        return self._load_other(key, stored) if value is MISSING else value

    def _load_other(self, key: str, stored: Any) -> Any | Missing:
        """Return the value of what has metadata and is fresh, or has a mark; note any damage."""
        form = self._other_form(stored)
        if form is not None:
            if metadata.has_tags(stored):  # which somebody looks at, who opens it
                return MISSING
            entry = self._read(form, key, stored)
            is_fresh = entry is not MISSING and entry.is_fresh(self._clock.time())
            return entry.value if is_fresh else MISSING
        if not _is_of_others(stored):
            self._note_damage()
        return MISSING

    def load_marked(self, key: str, stored: bytes) -> tuple[Any | Missing, bytes]:
        """Return what `load` does, and its mark."""
        if type(stored) is bytes and stored[:_HEADER_SIZE] == self._usual_typed:
            body = stored[_USUAL.size :]  # as `_read`, in fewer steps
            check = crc32(body, crc32(key.encode() + END, self._typed_beginning))
            if check.to_bytes(4, "big") == stored[_HEADER_SIZE : _USUAL.size]:
                try:
                    return self._loads(body[MARK_SIZE:]), body[:MARK_SIZE]
                except self._errors as error:
                    raise_if_of_others(error)
        form = self._other_form(stored)
        if form is None or metadata.has_tags(stored):
            return self.load(key, stored), b""
        entry = self._read(form, key, stored)
        if entry is MISSING:
            return MISSING, b""
        return entry.value if entry.is_fresh(self._clock.time()) else MISSING, entry.mark

    def load_described(
        self, key: str, stored: Any, described: bytes, mark: bytes = b""
    ) -> Any | Missing:
        """Return a value whose metadata, as bytes, and mark are these; MISSING if it has others."""
        expected, at = described + mark, self._body_at
        if type(stored) is not bytes or not stored.startswith(expected, at):
            return MISSING
        form = (self._typed_forms if mark else self._described_forms).get(stored[:_HEADER_SIZE])
        if form is None:
            return MISSING
        body = stored[at:]
        if not self._check.holds(form.beginning, key, body, stored[_HEADER_SIZE:at]):
            return MISSING
        try:
            return form.read(body[len(expected) :])
        except self._errors as error:
            raise_if_of_others(error)
            return MISSING

    def open(self, key: str, stored: bytes, metas: Metas | None = None) -> Entry | Missing:
        """Return what `load` does, with its metadata, and however old it is."""
        header = stored[:_HEADER_SIZE] if type(stored) is bytes else b""
        if metas is not None and header == self._usual_described:  # as `_read`, in fewer steps
            body = stored[_BODY]
            check = crc32(body, crc32(key.encode() + END, self._described_beginning))
            if check.to_bytes(4, "big") == stored[_CHECK]:
                end = _METADATA + int.from_bytes(body[:_METADATA], "big")
                try:
                    return _new(Entry, (self._loads(body[end:]), metas[body[:end]], b""))
                except self._errors as error:
                    raise_if_of_others(error)
        form = self._other_forms.get(header)
        if form is None:
            value = self.load(key, stored)
            return MISSING if value is MISSING else Entry(value)
        return self._read(form, key, stored, metas)

    def unseal(self, key: str, stored: bytes) -> tuple[Entry | Missing, bytes | None]:
        """Return what `open` does, and the payload as the serializer made it, if it made one."""
        if stored[:_HEADER_SIZE] == self._usual:  # as below, in fewer steps
            body = stored[_USUAL.size :]
            check = crc32(body, crc32(key.encode() + END, self._usual_beginning))
            if check.to_bytes(4, "big") == stored[_HEADER_SIZE : _USUAL.size]:
                try:
                    # Twice as fast as `Entry(…)`.
                    return tuple.__new__(Entry, (self._loads(body), None, b"")), body
                except self._errors as error:
                    raise_if_of_others(error)
            self._note_damage()
            return MISSING, None
        form = self._other_form(stored)
        if form is None and type(stored) is bytes:
            form = self._forms.get(stored[:_HEADER_SIZE])
        if form is None or form.unpack is None:
            return self.open(key, stored), None
        try:
            meta, mark, body = self._parts(form, key, stored)
            payload = form.unpack(body)
            return Entry(self._loads(payload), meta, mark), payload
        except self._errors as error:
            raise_if_of_others(error)
        self._note_damage()
        return MISSING, None

    def _other_form(self, stored: Any) -> _Form | None:
        """Return the form of what has metadata or a mark."""
        if type(stored) is not bytes:
            return None
        return self._other_forms.get(stored[:_HEADER_SIZE])

    def _read(
        self, form: _Form, key: str, stored: bytes, metas: Metas | None = None
    ) -> Entry | Missing:
        """Return the value of what has metadata or a mark, and these; note any damage."""
        try:
            meta, mark, body = self._parts(form, key, stored, metas)
            value = form.read(body)
            if value is not MISSING:
                return Entry(value, meta, mark)
        except self._errors as error:
            raise_if_of_others(error)
        self._note_damage()
        return MISSING

    def _parts(
        self, form: _Form, key: str, stored: bytes, metas: Metas | None = None
    ) -> tuple[Meta | None, bytes, bytes]:
        """Return the metadata, the mark and the payload of what is stored.

        Raises:
            ValueError: it does not verify, or has been cut.
        """
        body, check = stored[self._body_at :], stored[_HEADER_SIZE : self._body_at]
        if not self._check.holds(form.beginning, key, body, check):
            raise ValueError("the check does not hold")
        meta, mark = None, b""
        if form.is_described:
            end = metadata.SIZE + int.from_bytes(body[: metadata.SIZE], "big")
            described, body = body[:end], body[end:]
            meta = metadata.read(described) if metas is None else metas[described]
        if form.is_typed:
            mark, body = body[:MARK_SIZE], body[MARK_SIZE:]
        return meta, mark, body

    def _note_damage(self) -> None:
        self.damaged += 1
        if self.damaged == 1:
            emit(EntriesDamaged(self.owner, signed=bool(self._check.flag)))

    def _headers(self) -> tuple[bytes, bytes, bytes]:
        """Return the headers of what is compressed, of what is not, and of numbers."""
        serializer = _SERIALIZER_CODES.get(self._serializer.name, _FOREIGN)
        compressor = _COMPRESSORS[self._compressor.name if self._compressor else None]
        codecs = (serializer << 4 | compressor, serializer << 4, _NUMBER)
        packed, plain, number = (
            bytes((_MAGIC, _VERSION, self._check.flag, codec)) for codec in codecs
        )
        return packed, plain, number

    def _readers(self) -> Iterator[tuple[bytes, str, _Readers]]:
        """Yield each header, the name that the check covers, and what reads a payload."""
        name = self._serializer.name
        yield self._packed, name, (self._unpack, self._decompressed)
        yield self._plain, name, (self._loads, bytes)
        yield self._number, "", (_read_number, None)

    def _plain_forms(self) -> dict[bytes, _Form]:
        return {
            header: _Form(self._check.begin(header, name), *readers)
            for header, name, readers in self._readers()
        }

    def _forms_with_more(self) -> Iterator[tuple[bytes, _Form]]:
        """Yield the headers and forms of what has metadata, a mark, or both."""
        for plain, name, readers in self._readers():
            described = self._described[plain]
            yield described, _Form(self._check.begin(described, name), *readers, is_described=True)
            if plain in self._typed:
                typed = self._typed[plain]
                both = self._described[typed]
                yield typed, _Form(self._check.begin(typed, name), *readers, is_typed=True)
                yield both, _Form(self._check.begin(both, name), *readers, True, True)

    def _smaller(self, value: Any, body: bytes) -> tuple[bytes, bytes]:
        """Return a header and `body`, compressed if that helps and may be."""
        header = self._plain
        if self._compressor is not None and self._compress_min <= len(body) <= MAX_PAYLOAD:
            packed = self._compressor.compress(body)
            light = len(body) <= LIGHT  # which may always be
            if len(packed) < len(body) and (light or self._may_become(body, len(packed))):
                header, body = self._packed, packed
        if len(body) > HEAVY and not self._may_become(body, len(body)):
            raise refuse(self._serializer.name, value, "read back, it might take a gigabyte")
        return header, body

    def _unpack(self, body: bytes) -> Any:
        return self._loads(self._decompressed(body))

    def _decompressed(self, body: bytes) -> bytes:
        assert self._compressor is not None  # noqa: S101
        if self._check.flag:
            return self._compressor.decompress(body, MAX_PAYLOAD)
        payload = self._compressor.decompress(body, min(MAX_PAYLOAD, may_build(len(body))))
        if len(payload) > LIGHT:
            self._serializer.bound(payload, len(body))
        return payload

    def _may_become(self, body: bytes, size: int) -> bool:
        """Tell whether an entry of `size` bytes may become what `body` does."""
        if self._check.flag or len(body) <= LIGHT:
            return True
        if len(body) > may_build(size):
            return False
        try:
            self._serializer.bound(body, size)
        except ValueError:
            return False
        return True


def _with(header: bytes, flag: int = 0, codec: int = 0) -> bytes:
    return header[:2] + bytes((header[2] | flag, header[3] | codec))


def _read_number(body: bytes) -> Any | Missing:
    number = counter.read(body)
    return MISSING if number is None else number


def _is_of_others(stored: Any) -> bool:
    """Tell whether a later release wrote `stored`, or it is the stub of a claim."""
    if not isinstance(stored, bytes):
        return False
    if stored[:1] == _STUB:
        return True
    later = stored[1:2] >= _LATER_VERSION or stored[2:3] >= _RESERVED_FLAG
    return later and stored[0] == _MAGIC
