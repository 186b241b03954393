"""The options that backends behind a network share."""

import ssl
from pathlib import Path
from typing import Any, Literal, TypedDict

from twofold.clock import Clock
from twofold.display import shown
from twofold.errors import SettingsError

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_DEFAULTS = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


class NetworkOptions(TypedDict, total=False):
    """What `NetworkBackend` takes by name, for the constructors that hand it on."""

    ssl_ca_certs: str | None
    ssl_certfile: str | None
    ssl_keyfile: str | None
    ssl_cert_reqs: Literal["required", "none"]
    ssl_check_hostname: bool
    deadline: float
    clock: Clock


def check_text(**options: object) -> None:
    """Raise `SettingsError` for an option that is neither text nor None."""
    for name, text in options.items():
        if text is not None and not isinstance(text, str):
            raise SettingsError(f"OPTIONS[{name!r}] is text, not a {type(text).__name__}")


def flag(name: str, value: object) -> bool:
    """Return the option `name`, which is true or false."""
    if not isinstance(value, bool):
        raise SettingsError(f"OPTIONS[{name!r}] is True or False, not {shown(value)}")
    return value


def read_tls(**options: Any) -> dict[str, Any]:
    """Return the options that begin with `ssl_`, checked and without those that are None.

    Raises:
        SettingsError: one of them is not what it should be.
    """
    for name in _FILES:
        _check_file(name, options[name])
    verified = options["ssl_cert_reqs"]
    if verified not in ("required", "none"):
        raise SettingsError(
            f"OPTIONS['ssl_cert_reqs'] is 'required' or 'none', not {shown(verified)}"
        )
    hostname = flag("ssl_check_hostname", options["ssl_check_hostname"]) and verified == "required"
    return {name: value for name, value in options.items() if value is not None} | {
        "ssl_check_hostname": hostname
    }


class Tls:
    """What encrypts and verifies, as the options of `read_tls` say.

    It is made anew, by whoever connects next, once a file of them is another one: certificates
    are renewed while programs run.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._made: tuple[list[tuple[int, int]], ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """Return it.

        Raises:
            OSError: a file cannot be used.
        """
        files = [Path(self._options[name]) for name in _FILES if self._options.get(name)]
        seen = [(told.st_ino, told.st_mtime_ns) for told in (file.stat() for file in files)]
        made = self._made
        if made is None or made[0] != seen:
            made = self._made = seen, _context(self._options)
        return made[1]


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    context.check_hostname = options["ssl_check_hostname"]
    if options["ssl_cert_reqs"] == "none":
        context.verify_mode = ssl.CERT_NONE
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def given_tls(tls: dict[str, Any]) -> list[str]:
    """Return the names of those options of `read_tls` that are not the defaults."""
    return [name for name, value in tls.items() if value != _TLS_DEFAULTS.get(name)]


def _check_file(name: str, path: object) -> None:
    if path is None:
        return
    if not isinstance(path, str):
        raise SettingsError(f"OPTIONS[{name!r}] is the path of a file, not {shown(path)}")
    if not Path(path).is_file():
        raise SettingsError(f"OPTIONS[{name!r}]: there is no file {shown(path)}")
