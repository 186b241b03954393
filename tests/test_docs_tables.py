"""The tables of the documentation that name parts of the code: no part is missing or too much."""

import dataclasses
import inspect
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from twofold import Stats, events
from twofold.backend import Backend, ServerState
from twofold.contrib.flask import Caching
from twofold.contrib.starlette import CacheMiddleware, cached_page
from twofold.freshness.options import Freshness
from twofold.functions.decorators import _OPTIONS
from twofold.near.options import NearOptions, read_near
from twofold.settings import CacheConfig
from twofold.settings.sources import CommonOptions, EntryOptions
from twofold.stats import NearStats
from twofold.testing import BackendConformance, ChaosBackend

DOCS = Path(__file__).parent.parent / "docs"
TABLE = re.compile(r"^\|.*\n\| -.*\n((?:\|.*\n)+)", re.MULTILINE)


def table(page: str, name: str) -> dict[str, list[str]]:
    """Return the table of a page that has a row for `name`: by name, the other cells."""
    for found in TABLE.finditer((DOCS / page).read_text(encoding="utf-8")):
        rows = [row.strip("|").split(" | ") for row in found[1].splitlines()]
        named = {each: cells for first, *cells in rows for each in re.findall(r"`(\w+)`", first)}
        if name in named:
            return named
    raise LookupError(f"{page} has no table with `{name}`")


def keywords(function: Callable[..., Any], *others: str) -> set[str]:
    """Return the parameters of a function that are given by their names."""
    taken = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {each.name for each in taken if each.kind in kinds} - {"self", "clock", *others}


def fields(cls: Any) -> set[str]:
    return {each.name for each in dataclasses.fields(cls)}


NAMED: dict[tuple[str, str], Iterable[str]] = {
    ("decorators.md", "ignore"): _OPTIONS,
    ("fastapi.md", "public"): keywords(cached_page, "endpoint"),
    ("fastapi.md", "max_body"): keywords(CacheMiddleware, "app"),
    ("flask.md", "public"): keywords(Caching.cached_page, "view"),
    ("freshness.md", "jitter"): Freshness.__annotations__.keys() | {"timeout"},
    ("operations.md", "stale_hits"): fields(Stats) | {"hit_ratio"},
    ("redis.md", "breaker"): fields(ServerState),
    ("settings.md", "on_error"): CommonOptions.__annotations__ | EntryOptions.__annotations__,
    ("settings.md", "KEY_PREFIX"): {each.upper() for each in fields(CacheConfig) - {"alias"}},
    ("testing.md", "failure_rate"): keywords(ChaosBackend, "location"),
    ("tiers.md", "evicted"): fields(NearStats),
    ("tiers.md", "max_bytes"): fields(NearOptions),
}


@pytest.mark.parametrize(("page", "name"), NAMED)
def test_a_table_names_what_there_is(page: str, name: str) -> None:
    """Each has its row, and nothing else has one."""
    assert table(page, name).keys() == set(NAMED[page, name])


def literal(cell: str) -> str:
    return cell.strip().strip("`").strip('"')


DEFAULTS: dict[tuple[str, str], Any] = {
    ("writing-a-backend.md", "workers"): Backend,
    ("writing-a-backend.md", "life"): BackendConformance,
    ("settings.md", "KEY_PREFIX"): CacheConfig,
}


@pytest.mark.parametrize(("page", "name"), DEFAULTS)
def test_a_table_shows_the_defaults_there_are(page: str, name: str) -> None:
    """Those that are a number, a text or a name of Python's."""
    known = {each.lower(): value for each, value in vars(DEFAULTS[page, name]).items()}
    for row, cells in table(page, name).items():
        default = known.get(row.lower(), getattr(DEFAULTS[page, name], row, ...))
        if isinstance(default, int | float | str | None):
            shown = literal(cells[-2]).replace("_", "")
            assert shown in (str(default), f"{default:g}" if isinstance(default, float) else ""), (
                row
            )


def test_the_defaults_of_near_and_chaos_are_shown() -> None:
    """A size and a duration stand there as they would be given."""
    cells = {name: literal(row[0]) for name, row in table("tiers.md", "max_bytes").items()}
    given = {name: value for name, value in cells.items() if value != "none"}
    sizes = {"max_entries": int(given.pop("max_entries"))}
    assert read_near({**given, **sizes}) == NearOptions()
    chaos = inspect.signature(ChaosBackend).parameters
    for name, row in table("testing.md", "failure_rate").items():
        default = chaos[name].default
        assert literal(row[0]) == getattr(default, "__name__", str(default))


def test_the_table_of_events_names_their_fields_and_levels() -> None:
    """Each event has a row; one whose level depends on it names both."""
    rows = table("events.md", "OutageBegan")
    kinds = {
        name: kind
        for name, kind in vars(events).items()
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    }
    assert rows.keys() == kinds.keys()
    for name, kind in kinds.items():
        assert re.findall(r"`(\w+)`", rows[name][0]) == list(get_type_hints(kind)), name
        level = logging.getLevelName(kind(*[None for _ in fields(kind)]).level)
        assert level in rows[name][1], name
