"""Where a cache of files keeps what a test looks for."""

from pathlib import Path

from twofold.backends.files.entry import place


def file_of(path: Path, key: str) -> Path:
    """Return where the file of `key` stands."""
    number, name = place(key)
    return path / f"{number:02x}" / name


def entries(path: Path) -> list[Path]:
    """Return the files of all entries, expired ones included."""
    return [*path.glob("*/*.entry"), *path.glob("*/*.lock")]
