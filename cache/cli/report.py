"""How results are shown: tables for people, one JSON object for machines."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twofold.cli.check import Checked
from twofold.cli.demo import REPEATS, Outcome, Way
from twofold.display import printable

_UNITS = ("B", "KiB", "MiB", "GiB")


def show_start(console: Console, files: int) -> None:
    """Say what the demo will do."""
    console.print(
        f"What do {files:,} of this machine's Python files define? To tell, a file must be parsed."
        f" Each is asked about {REPEATS} times, by many at once."
    )


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Show what the demo measured, in one sentence, and how."""
    without, kept, tasks = outcome.ways
    console.print(_ways_table(outcome.ways))
    console.print(
        f"[bold]The cache saved {outcome.saved_parses:,} of {without.parsed:,} parses:"
        f" {kept.seconds:.2f} s instead of {without.seconds:.2f} s.[/]"
        f" Tasks of an event loop then found {tasks.found:,} of {tasks.questions:,} answers there."
    )
    console.print(
        "found: the answer was in the cache. joined: somebody was just parsing that file, and the"
        " result was shared. parsed: the work was done, and its result stored. tasks: the async"
        " face of the same cache. The cache was a SQLite file in a temporary folder, which is gone"
        " now; all times are of this run.",
        style="dim",
    )


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return what the demo measured, to be written as JSON; times in seconds."""
    return {
        "python": platform.python_version(),
        "files": outcome.files,
        "asked_each": REPEATS,
        "ways": [asdict(way) for way in outcome.ways],
        "saved": {"parses": outcome.saved_parses, "seconds": outcome.saved_seconds},
    }


def show_checks(console: Console, checks: Sequence[Checked]) -> None:
    """Show how each alias did: the latency of a round trip in both faces, and warnings."""
    table = Table("alias", "store", box=SIMPLE_HEAD, caption="Latency of set + get + delete")
    table.add_column("sync", justify="right", no_wrap=True)
    table.add_column("async", justify="right", no_wrap=True)
    for each in checks:
        times = map(_milliseconds, (each.sync_seconds, each.async_seconds))
        table.add_row(_plain(each.alias), _plain(each.store), *times)
    console.print(table)
    if any(each.servers for each in checks):
        console.print(_servers_table(checks))


def _servers_table(checks: Sequence[Checked]) -> Table:
    table = Table("alias", "server", "version", box=SIMPLE_HEAD, caption="Latency of a ping")
    table.add_column("round trip", justify="right", no_wrap=True)
    servers = [(each.alias, server) for each in checks for server in each.servers]
    limited = any(server.item_size_max is not None for _, server in servers)
    if limited:
        table.add_column("largest item", justify="right")
    watched = any(server.watch for _, server in servers)
    if watched:
        table.add_column("watch")
    for alias, server in servers:
        more: list[str | Text] = [_bytes(server.item_size_max)] if limited else []
        more += [_plain(server.watch or "-")] if watched else []
        latency = _milliseconds(server.round_trip)
        said = map(_plain, (alias, server.name, server.version))
        table.add_row(*said, latency, *more)
    return table


def _plain(text: str) -> Text:
    """Return what others wrote, which is neither markup nor a command to the terminal."""
    return Text(printable(text))


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.3f} ms"


def _bytes(count: int | None) -> str:
    """Return a size for people, and exactly."""
    if count is None:
        return "-"
    power = max(0, min((count.bit_length() - 1) // 10, len(_UNITS) - 1))
    rounded = f"{count / 1024**power:.4g} {_UNITS[power]}, " if power else ""
    return f"{rounded}{count} B"


def _ways_table(ways: Sequence[Way]) -> Table:
    table = Table("who asks", box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("questions", "parsed", "joined", "found", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for way in ways:
        numbers = (way.questions, way.parsed, way.joined, way.found)
        table.add_row(way.name, *(f"{number:,}" for number in numbers), f"{way.seconds:.2f} s")
    return table
