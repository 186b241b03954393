"""What one release of Python has written with its types, every other reads."""

import json
from base64 import b64decode

import pytest

from tests.typed_golden import FOLDER, RELEASES, SERIALIZERS, golden, read, written
from twofold.types.sameness import is_same


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("name", golden())
def test_another_release_has_written_it(release: str, serializer: str, name: str) -> None:
    """Nested, generic, told as text, of a function, renamed: all of it comes back."""
    assert is_same(read(release, name, serializer), golden()[name].found)


def test_every_release_has_written_all() -> None:
    """No file is left behind when something is added."""
    for release in RELEASES:
        entries = json.loads((FOLDER / f"{release}.json").read_text())
        assert tuple(entries) == SERIALIZERS
        assert all([*each] == [*golden()] for each in entries.values())


def test_this_release_writes_what_is_read() -> None:
    """The header and the mark of what it writes are those of the files."""
    for release in RELEASES:
        entries = json.loads((FOLDER / f"{release}.json").read_text())
        for serializer in SERIALIZERS:
            for name in golden():
                there = b64decode(entries[serializer][name])
                mine = written(name, serializer)
                assert (mine[:4], mine[8:16]) == (there[:4], there[8:16])
