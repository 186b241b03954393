"""How results are shown: tables for people, one JSON object for machines."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from twofold.cli.check import Checked
from twofold.cli.demo import REPEATS, Outcome, Place, Row
from twofold.display import printable

_UNITS = ("B", "KiB", "MiB", "GiB")


def show_start(console: Console, modules: int, place: Place) -> None:
    """Say what the demo will do, and where it keeps it."""
    console.print(
        f"Parsing {modules:,} Python modules, spread over the standard library and the installed"
        f" packages, and counting what they define. Each is asked for {REPEATS} times, by many"
        " callers at once: sync ones in threads, async ones in an event loop."
    )
    aliases = f"Caches: memory, in this process; sqlite, in {escape(printable(str(place.path)))}"
    console.print(aliases, soft_wrap=True)
    if not place.kept:
        console.print(
            "The user's cache directory cannot be written, so that file is temporary: the next"
            " run will start cold. XDG_CACHE_HOME names another directory.",
            style="yellow",
        )


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Show what the demo measured."""
    console.print(_origin(outcome))
    console.print(_rows_table(outcome.rows))
    console.print(
        "hits: found in the cache; computed: parsed, then stored; shared: given the result that"
        " another caller was just computing. with, without: the same calls, with the cache and"
        " with none.",
        style="dim",
    )


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return what the demo measured, to be written as JSON; times in seconds."""
    return {
        "python": platform.python_version(),
        "modules": outcome.modules,
        "sqlite_file": {"path": str(outcome.place.path), "kept": outcome.place.kept},
        "from_last_run": {"results": outcome.from_last_run, "of": outcome.durable},
        "calls_per_module": REPEATS,
        "rows": [{**asdict(row), "speed_up": row.speed_up} for row in outcome.rows],
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


def _origin(outcome: Outcome) -> str:
    kept, every = outcome.from_last_run, outcome.durable
    if kept:
        return f"[green]Warm start:[/] {kept} of {every} results in sqlite came from the last run."
    again = " Run it again, and sqlite starts warm." if outcome.place.kept else ""
    return f"Cold start: nothing in sqlite came from an earlier run.{again}"


def _rows_table(rows: Sequence[Row]) -> Table:
    table = Table("alias", "face", box=SIMPLE_HEAD, padding=0)
    for name in ("calls", "hits", "shared", "computed", "with", "without", "speed-up"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.calls, row.hits, row.shared, row.computed)
        table.add_row(
            row.alias,
            row.face,
            *(f"{number:,}" for number in numbers),
            f"{row.seconds:.2f} s",
            f"{row.seconds_without:.1f} s",
            f"{row.speed_up:,.1f}x",
        )
    return table
