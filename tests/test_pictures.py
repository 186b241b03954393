"""The pictures of the documentation: each is what its program draws, and stands in a page."""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "pictures"
PICTURES = sorted(FOLDER.glob("*.svg"))


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], str]]:
    """Return the programs of all pictures, by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    pictures: dict[str, Callable[[], str]] = import_module("draw").PICTURES
    return pictures


def test_a_picture_is_what_its_program_draws(draw: dict[str, Callable[[], str]]) -> None:
    """The one of the rooms is drawn from the imports, and so cannot go stale."""
    drawn = {name: program() for name, program in draw.items()}
    stale = {each.stem for each in PICTURES if drawn.get(each.stem) != each.read_text("utf-8")}
    assert not stale, "python docs/pictures/draw.py"
    assert drawn.keys() == {each.stem for each in PICTURES}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda each: each.stem)
def test_a_picture_is_readable_on_any_page(picture: Path) -> None:
    """It has a ground of its own, other colours where the reader's system is dark, and a title."""
    drawn = ElementTree.fromstring(picture.read_text("utf-8"))
    kinds = [each.tag.rpartition("}")[2] for each in drawn]
    assert drawn.get("viewBox")
    assert kinds[0] == "title"
    assert "prefers-color-scheme:dark" in picture.read_text("utf-8")
    assert 'class="paper"' in picture.read_text("utf-8")


@pytest.mark.parametrize("picture", PICTURES, ids=lambda each: each.stem)
def test_a_picture_stands_in_a_page(picture: Path) -> None:
    """With words for those who do not see it."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = re.compile(rf"!\[[^\]]+\]\((?:docs/)?pictures/{picture.name}\)")
    assert any(shown.search(page.read_text("utf-8")) for page in pages)
