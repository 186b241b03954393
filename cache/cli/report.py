"""How results are shown: tables for people, one JSON object for machines."""

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from twofold.cli.check import Checked
from twofold.cli.corpus import LARGEST, Corpus, Module
from twofold.cli.counting import Counts
from twofold.cli.demo import REPEATS, Outcome, Place, Row
from twofold.display import printable

_SHOWN = 5
_UNITS = ("B", "KiB", "MiB", "GiB")
_COLUMNS = ("lines", "functions", "async_functions", "classes", "awaits")


def show_start(console: Console, corpus: Corpus, place: Place) -> None:
    """Say what the demo will do, with what, and what it leaves out."""
    console.print(
        f"Parsing [bold]{len(corpus.modules):,}[/] of {corpus.found:,} modules, evenly spread over"
        " the standard library and the installed packages, and counting what they define."
    )
    left_out = f", and {corpus.left_out} that are larger than {LARGEST // 1024} KiB or unreadable"
    console.print(
        f"Left out: directories of tests{left_out if corpus.left_out else ''}."
        " --files sets how many to take.",
        style="dim",
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
    """Show what the demo measured and found."""
    console.print(_origin(outcome))
    console.print(_rows_table(outcome.rows))
    console.print(
        f"Each module is asked for {REPEATS} times, by overlapping requests; shared: given what"
        " another caller was just computing. Without: the same requests, measured with no cache.",
        style="dim",
    )
    console.print(_pauses(outcome.rows))
    console.print(_findings_table(outcome.counts))
    console.print(f"Done in {outcome.seconds:.1f} s.")


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return what the demo measured and found, to be written as JSON; times in seconds."""
    return {
        "python": platform.python_version(),
        "modules": {
            "found": outcome.corpus.found,
            "read": len(outcome.corpus.modules),
            "left_out": outcome.corpus.left_out,
        },
        "sqlite_file": {"path": str(outcome.place.path), "kept": outcome.place.kept},
        "from_last_run": {"results": outcome.kept_results, "of": outcome.durable_results},
        "calls_per_module": REPEATS,
        "rows": [{**asdict(row), "speed_up": row.speed_up} for row in outcome.rows],
        "totals": _totals(outcome.counts),
        "longest_modules": [
            {"module": module.name, **counts} for module, counts in _longest(outcome.counts)
        ],
        "seconds": outcome.seconds,
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
    for alias, server in servers:
        limit = [_bytes(server.item_size_max)] if limited else []
        latency = _milliseconds(server.round_trip)
        said = map(_plain, (alias, server.name, server.version))
        table.add_row(*said, latency, *limit)
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
    kept, every = outcome.kept_results, outcome.durable_results
    if kept:
        return f"[green]Warm start:[/] {kept} of {every} results in sqlite came from the last run."
    again = " Run it again, and sqlite starts warm." if outcome.place.kept else ""
    return f"Cold start: nothing in sqlite came from an earlier run.{again}"


def _rows_table(rows: Sequence[Row]) -> Table:
    table = Table("alias", "face", "way", box=SIMPLE_HEAD, padding=0)
    for name in ("calls", "hits", "shared", "computed", "with", "without", "speed-up"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.calls, row.hits, row.shared, row.computed)
        table.add_row(
            row.alias,
            row.face,
            row.way,
            *(f"{number:,}" for number in numbers),
            f"{row.seconds:.2f} s",
            f"{row.seconds_without:.1f} s",
            f"{row.speed_up:,.1f}x",
        )
    return table


def _pauses(rows: Sequence[Row]) -> str:
    """Say how long the event loop stood still at most in the async views."""
    views = [row for row in rows if row.longest_pause is not None]
    busiest = max(views, key=lambda row: row.requests)
    pause = max(row.longest_pause or 0.0 for row in views)
    return (
        f"The async view answered {busiest.requests} requests at a time. Parsing and SQLite run in"
        f" threads: the event loop was never late by more than {pause * 1000:.0f} ms."
    )


def _findings_table(counts: dict[Module, Counts]) -> Table:
    totals = _totals(counts)
    title = f"Found in {len(counts):,} modules, {totals['unparsable']} of them unparsable"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_footer=True)
    table.add_column("longest modules", footer="all")
    for name in _COLUMNS:
        footer = f"{totals[name]:,}"
        table.add_column(name.replace("_", " "), justify="right", footer=footer, no_wrap=True)
    for module, found in _longest(counts):
        table.add_row(_plain(module.name), *(f"{found[name]:,}" for name in _COLUMNS))
    return table


def _totals(counts: dict[Module, Counts]) -> Counts:
    totals: Counter[str] = Counter(dict.fromkeys((*_COLUMNS, "unparsable"), 0))
    for each in counts.values():
        totals.update(each)
    return dict(totals)


def _longest(counts: dict[Module, Counts]) -> list[tuple[Module, Counts]]:
    parsed = [item for item in counts.items() if not item[1]["unparsable"]]
    return sorted(parsed, key=lambda item: item[1]["lines"], reverse=True)[:_SHOWN]
