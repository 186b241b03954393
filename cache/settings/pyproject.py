"""`pyproject.toml`: found upwards from a folder, and read if it can be trusted.

The author of the settings chooses what the program runs. So, as with git's `safe.directory`,
a file counts that belongs to this user, to root or, under sudo, to who called it, and that
not everybody may write, nor its folder. https://git-scm.com/docs/git-config, "safe.directory"
"""

import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from twofold.display import printable
from twofold.errors import SettingsError
from twofold.settings.config import placed
from twofold.spelling import unknown

_NAME = "pyproject.toml"
_ENOUGH = 1024 * 1024  # bytes of what is not to be trusted, to see whether it speaks of twofold
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)  # no waiting on a pipe

_log = logging.getLogger("twofold")


def find_pyproject(folder: Path) -> tuple[Path, Any] | None:
    """Return the nearest file from `folder` upwards, with its `[tool.twofold.caches]` or None.

    A file that is not to be trusted is passed over with a warning, and one that is damaged
    or cannot be read without, unless it speaks of twofold.

    Raises:
        SettingsError: the tables in it are wrong, or it is damaged and has some of twofold.
    """
    for each in (folder, *folder.parents):
        path = each / _NAME
        data = _trusted(path)
        if data is not None and (table := _parsed(path, data)) is not None:
            with placed(str(path)):
                return path, tool_caches(table)
    return None


def parse_toml(data: bytes) -> dict[str, Any]:
    """Return what TOML says.

    Raises:
        SettingsError: it is none.
    """
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # some editors begin a file with a mark
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"the file is no TOML: {error}") from error


def tool_caches(data: Mapping[str, Any]) -> Any:
    """Return `[tool.twofold.caches]`, or None.

    Raises:
        SettingsError: there is another table beside it.
    """
    tool = data.get("tool")
    table = tool.get("twofold") if isinstance(tool, Mapping) else None
    if table is None:
        return None
    if not isinstance(table, Mapping):
        raise SettingsError("[tool.twofold] is a table with the table 'caches'")
    for name in table:
        if name != "caches":
            raise SettingsError(f"[tool.twofold]: {unknown('table', name, ['caches'])}")
    return table.get("caches")


def _parsed(path: Path, data: bytes) -> dict[str, Any] | None:
    try:
        return parse_toml(data)
    except SettingsError as error:
        if _speaks(data):
            with placed(str(path)):
                raise
        tell(logging.INFO, f"passed over {path}: {error}")
        return None


def _speaks(data: bytes) -> bool:
    """Tell whether a file has the text `tool.twofold`, in UTF-16 too."""
    return b"tool.twofold" in data.replace(b"\0", b"")


def _trusted(path: Path) -> bytes | None:
    """Return what a file holds, or None if it is not there or not to be trusted."""
    try:
        doubt, data = _read(path) if hasattr(os, "geteuid") else ("", path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        tell(logging.INFO, f"passed over {path}: it cannot be read ({error.strerror})")
        return None
    if not doubt:
        return data
    if _speaks(data):
        tell(
            logging.WARNING,
            f"passed over {path}: {doubt}. To use its settings, say so by TWOFOLD_SETTINGS={path}",
        )
    return None


def _read(path: Path) -> tuple[str, bytes]:
    """Return why not to trust a file, or nothing, and what it holds.

    What is judged is what was opened: a path may lead elsewhere a moment later.
    """
    with _opened(path.parent) as folder:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            doubt, data = _read(Path(os.path.realpath(path, strict=True)))
            return _doubt(found, os.fstat(folder)) or doubt, data
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError
        with open(path.name, "rb", opener=partial(_open, folder)) as file:
            doubt = _doubt(os.fstat(file.fileno()), os.fstat(folder))
            return doubt, file.read(_ENOUGH if doubt else -1)


def _open(folder: int, name: str, flags: int) -> int:
    return os.open(name, flags | _AT_ONCE, dir_fd=folder)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _doubt(found: os.stat_result, folder: os.stat_result) -> str:
    """Return why a file, or a link to one, in a folder is not to be trusted, or nothing."""
    if str(found.st_uid) not in _owners():
        return f"it belongs to user {found.st_uid}, and this is user {os.geteuid()}"
    if found.st_mode & stat.S_IWOTH and not stat.S_ISLNK(found.st_mode):
        return "everybody may write it"
    return "everybody may write its folder" if folder.st_mode & stat.S_IWOTH else ""


def _owners() -> set[str]:
    """Return the users whose files count: this one, root, and who called sudo."""
    user = os.geteuid()
    return {"0", str(user), os.environ.get("SUDO_UID", "0") if user == 0 else "0"}


@cache
def tell(level: int, text: str) -> None:
    """Log what is told once in a process, however often the settings are looked for."""
    _log.log(level, "%s", printable(text))
