"""What tells a sound entry from any other: a checksum, or with a secret a signature."""

from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final, Protocol
from zlib import crc32

from twofold.errors import SettingsError
from twofold.settings.config import Secret

SIGNED: Final = 1
"""The flag of what has a signature."""

END: Final = b"\xff"
"""Ends a text in what is checked, since it is not in UTF-8."""


class Check(Protocol):
    """What tells a sound entry from any other."""

    flag: int
    size: int

    def begin(self, header: bytes, name: str) -> Any:
        """Return the state after a header and a serializer's name, for many entries."""

    def over(self, beginning: Any, key: str, body: bytes) -> bytes:
        """Return the check of `key` and `body` after a beginning."""

    def holds(self, beginning: Any, key: str, body: bytes, check: bytes) -> bool:
        """Tell whether `check` is what `over` returns."""


class Checksum:
    """CRC-32, against accidents."""

    flag: int = 0
    size: int = 4

    def begin(self, header: bytes, name: str) -> int:
        return crc32(header + name.encode() + END)

    def over(self, beginning: int, key: str, body: bytes) -> bytes:
        return crc32(body, crc32(key.encode() + END, beginning)).to_bytes(4, "big")

    def holds(self, beginning: int, key: str, body: bytes, check: bytes) -> bool:
        return crc32(body, crc32(key.encode() + END, beginning)).to_bytes(4, "big") == check


class Signature:
    """Keyed BLAKE2b, against anyone who can write to the store without the secret."""

    flag: int = SIGNED
    size: int = 20

    def __init__(self, secret: Secret, context: str) -> None:
        several: Any = secret if isinstance(secret, list | tuple) else [secret]
        self._keys = [_signing_key(each) for each in several]
        self._context = context.encode("utf-8", "surrogatepass")

    def begin(self, header: bytes, name: str) -> list[blake2b]:
        head = header + name.encode() + END + self._context + END
        return [
            blake2b(head, key=key, digest_size=self.size, person=b"twofold") for key in self._keys
        ]

    def over(self, beginning: list[blake2b], key: str, body: bytes) -> bytes:
        signature = beginning[0].copy()
        signature.update(key.encode() + END)
        signature.update(body)
        return signature.digest()

    def holds(self, beginning: list[blake2b], key: str, body: bytes, check: bytes) -> bool:
        for each in beginning:  # noqa: SIM110 - any() costs a generator
            if compare_digest(check, self.over([each], key, body)):
                return True
        return False


def need_no_secret(context: str, numbers: str | None) -> None:
    """Refuse what makes sense only where entries are signed.

    Raises:
        SettingsError: it is there.
    """
    given = ["'context'"] if context else ["'numbers': 'signed'"] if numbers == "signed" else []
    if given:
        raise SettingsError(f"OPTIONS[{given[0]}] is about signatures: set SECRET, or leave it out")


def _signing_key(secret: str | bytes) -> bytes:
    if not isinstance(secret, str | bytes) or not secret:
        raise SettingsError(
            "SECRET must be a text or bytes, and not empty; leave it out to sign nothing"
        )
    key = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
