"""Errors name the section of *Troubleshooting* that tells more of them, and that is there."""

import asyncio
import copy
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

import twofold
from twofold import Cache, cache, cached, configure, errors
from twofold.errors import _SECTIONS, CacheError

PAGE = Path(__file__).parent.parent / "docs" / "troubleshooting.md"


def sections() -> dict[str, str]:
    """Return the sections' texts, by what the ends of links to them are made of."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"): text
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_each_section_that_an_error_names_is_there() -> None:
    """And tells of that class; each class that the page explains has such a note."""
    there = sections()
    for kind, by_words in _SECTIONS.items():
        for section in by_words.values():
            assert section in there
        assert any(f"`{kind.__name__}`" in there[each] for each in by_words.values())
    explained = set(re.findall(r"^`(\w+)`:", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert explained <= {kind.__name__ for kind in _SECTIONS}


def own() -> int:
    return cache.get_or_set("own", own)


async def load() -> int:
    return 1


@cached
def takes(session: object) -> int:
    return 1


def blocked() -> None:
    async def body() -> None:
        Cache("sqlite:///c.db").get("k")

    asyncio.run(body())


TROUBLES: list[tuple[Any, str]] = [
    (lambda: cached(ttl=60), "there-is-no-option"),
    (lambda: configure({"default": {"BACKEND": "memory", "TTL": 1}}), "there-is-no-option"),
    (lambda: configure({"default": {"BACKEND": "redi"}}), "there-is-no-option"),
    (lambda: Cache("redis://localhost?clutser=1"), "there-is-no-option"),
    (lambda: Cache("localhost:6379"), "no-backend-is-named"),
    (lambda: configure("redis"), "no-backend-is-named"),
    (blocked, "blocks-and-an-event-loop"),
    (lambda: cache.aget_or_set("k", load).send(None), "need-an-event-loop"),
    (lambda: cache.get_or_set("k", load), "can-be-awaited"),
    (lambda: takes(object()), "cannot-stand-in-a-key"),
    (own, "would-wait-for-its-own-result"),
    (lambda: Cache("files:///tmp").set("k", object()), "the-serializer-cannot-hold"),
    (lambda: Cache("redis://127.0.0.1:1").get("k"), "cannot-be-reached"),
]


@pytest.mark.parametrize(("trouble", "section"), TROUBLES, ids=[each for _, each in TROUBLES])
def test_what_a_traceback_ends_with(
    trouble: Any, section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is as short as ever; below it a traceback names the section."""
    monkeypatch.chdir(tmp_path)
    configure(f"memory://{tmp_path}")
    with pytest.raises(CacheError) as raised:
        trouble()
    assert "docs/troubleshooting.md" not in str(raised.value)
    last = traceback.format_exception(raised.value)[-1]
    assert last.startswith(f"More: docs/troubleshooting.md#{section}")


def test_errors_that_say_all_have_no_note() -> None:
    """What is in no section of the page is told by its message."""
    with pytest.raises(twofold.MissingKey) as missing:
        cache.incr("none")
    with pytest.raises(twofold.SettingsError) as negative:
        configure({"default": {"BACKEND": "memory", "COMPRESS_MIN": -1}})
    with pytest.raises(twofold.SettingsError, match="there is no module") as elsewhere:
        configure({"default": {"BACKEND": "memory", "KEY_FUNCTION": "nowhere.at_all"}})
    assert not hasattr(missing.value, "__notes__")
    assert not hasattr(elsewhere.value, "__notes__")
    assert not hasattr(negative.value, "__notes__")


@pytest.mark.parametrize("kind", _SECTIONS)
def test_an_error_is_copied_with_one_note(kind: type[CacheError]) -> None:
    """Pickled and copied too; its own notes are its own."""
    error = kind("did you mean 'x'?")
    error.add_note("mine")
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert made.__notes__ == error.__notes__
        assert len(made.__notes__) == 2
    assert len(kind("did you mean 'x'?").__notes__) == 1


def test_errors_without_a_message_are_made() -> None:
    """As tests of others make them."""
    for name in twofold.__all__:
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, CacheError):
            assert isinstance(kind("text"), CacheError)
