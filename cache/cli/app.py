"""The commands."""

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from twofold.cli import check as checks
from twofold.cli import corpus, demo, report
from twofold.cli.values import read_value, show_value
from twofold.core import Cache
from twofold.display import mask_url, printable
from twofold.errors import CacheError
from twofold.registry import caches
from twofold.settings import find
from twofold.spelling import did_you_mean
from twofold.timeouts import DEFAULT_TIMEOUT
from twofold.version import __version__

app: typer.Typer = typer.Typer(
    name="twofold",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Alias = Annotated[str, typer.Option("--alias", "-a", help="The cache, by its name in CACHES.")]
Key = Annotated[str, typer.Argument(help="The key, without prefix and version.")]
Version = Annotated[int | None, typer.Option(help="The key's version; else that of the settings.")]


def _import_from(folder: Path | None) -> None:
    """Let the modules that the settings name stand in `folder`: nothing is imported unasked."""
    if folder is not None:
        sys.path.insert(0, str(folder))


AppDir = Annotated[
    Path | None,
    typer.Option(
        "--app-dir",
        callback=_import_from,
        exists=True,
        file_okay=False,
        resolve_path=True,
        help="The folder of the modules that the settings name, such as '.'.",
    ),
]

_MISSING = object()


def run() -> None:
    """Run the command that the arguments name; an error of the cache is one line, status 1."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except CacheError as error:
        _complain(checks.told(error))
        sys.exit(1)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twofold {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _app_dir: AppDir = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """One cache, two faces: try it, check its settings, look into it."""


@app.command("demo")
def demo_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object only.")] = False,
    files: Annotated[int, typer.Option(min=1, help="Files to parse at most.")] = 60,
) -> None:
    """Show what a cache saves: parse some of this machine's Python files, with one and without.

    Nothing of it stays: the cache is a file in a temporary folder, and your own is not touched.
    """
    console = Console(quiet=as_json)
    modules = corpus.collect(files)
    if not modules:
        _fail("the demo found no Python files of this machine to parse")
    report.show_start(console, len(modules))
    outcome = _run_with_progress(modules, as_json)
    report.show_outcome(console, outcome)
    if as_json:
        typer.echo(json.dumps(report.outcome_as_dict(outcome), indent=2))


@app.command()
def check(
    aliases: Annotated[list[str] | None, typer.Argument(help="Those to try; else all.")] = None,
    _app_dir: AppDir = None,
) -> None:
    """Validate the settings, and make a round trip in both faces over each alias."""
    typer.echo(f"settings: {printable(find().name)}")
    checked = checks.check(aliases or [])
    report.show_checks(Console(), checked)
    for each in checked:
        for warning in each.warnings:
            _complain(f"warning: cache {each.alias!r}: {warning}")
        if each.trouble is not None:
            _complain(f"cache {each.alias!r}: {each.trouble}")
    if any(each.trouble is not None for each in checked):
        raise typer.Exit(1)


@app.command()
def get(
    key: Key, alias: Alias = "default", version: Version = None, _app_dir: AppDir = None
) -> None:
    """Print the value of a key: as JSON, or as Python shows what JSON cannot hold."""
    cache = caches[alias]
    value = cache.get(key, _MISSING, version)
    if value is _MISSING:
        _fail_missing(cache, key)
    typer.echo(printable(show_value(value)))


@app.command("set", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def set_command(
    given: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(help="JSON; what is not JSON is taken as text.")],
    alias: Alias = "default",
    timeout: Annotated[
        str | None,
        typer.Option(help="How long: 90, 10m, 1h30m, none for ever; else that of the settings."),
    ] = None,
    version: Version = None,
    _app_dir: AppDir = None,
) -> None:
    """Store a value."""
    if given.args:  # a value may begin with a dash, and what follows it is no value
        _refuse(next((each for each in given.args if each[:2] == "--"), given.args[0]))
    cache = caches[alias]
    life: Any = DEFAULT_TIMEOUT if timeout is None else timeout
    if timeout is not None and timeout.lower() == "none":
        life = None
    if not cache.set(key, read_value(value), life, version):
        _see_that_it_answered(cache)
        _fail(f"cache {alias!r} could not store {key!r}: it has no room for the value")
    if cache.backend.kind == "inline":
        _complain(f"note: {_private(cache)}")


@app.command()
def delete(
    key: Key, alias: Alias = "default", version: Version = None, _app_dir: AppDir = None
) -> None:
    """Remove a key."""
    cache = caches[alias]
    if not cache.delete(key, version):
        _fail_missing(cache, key)


@app.command()
def invalidate(
    tags: Annotated[list[str], typer.Argument(help="The tags, without prefix.")],
    alias: Alias = "default",
    keep_stale: Annotated[
        bool, typer.Option("--keep-stale", help="Let entries be stale instead.")
    ] = False,
    _app_dir: AppDir = None,
) -> None:
    """Make invalid whatever has one of some tags, in all versions."""
    cache = caches[alias]
    cache.invalidate_tags(*tags, keep_stale=keep_stale)
    _see_that_it_answered(cache)
    if cache.backend.kind == "inline":
        _fail(_private(cache))


@app.command()
def ttl(
    key: Key, alias: Alias = "default", version: Version = None, _app_dir: AppDir = None
) -> None:
    """Print the seconds that a key has left, or "for ever"."""
    cache = caches[alias]
    left = cache.ttl(key, version)
    if left == 0:
        _fail_missing(cache, key)
    typer.echo("for ever" if left is None else f"{left:.3f}")


@app.command()
def clear(
    alias: Alias = "default",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _app_dir: AppDir = None,
) -> None:
    """Remove every entry of an alias, in all versions."""
    cache = caches[alias]
    if not yes:
        store = printable(mask_url(repr(cache.backend)))
        typer.confirm(f"Remove every entry of cache {alias!r}, {store}?", abort=True)
    cache.clear()
    _see_that_it_answered(cache)


def _run_with_progress(modules: list[corpus.Module], quiet: bool) -> demo.Outcome:
    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True, quiet=quiet)
    with Progress(*columns, console=console, transient=True) as progress:
        return demo.run(modules, _ticker(progress, demo.calls_in_all(modules)))


def _ticker(progress: Progress, calls_in_all: int) -> demo.Tick:
    task = progress.add_task("", total=calls_in_all)

    def tick(way: str) -> None:
        progress.update(task, description=way, advance=1)

    return tick


def _refuse(argument: str) -> NoReturn:
    """Refuse what is too much behind a value, as typer does where a value has no dash."""
    name = argument.partition("=")[0].lstrip("-")
    near = did_you_mean(name, ["alias", "timeout", "version", "app-dir"])
    raise typer.BadParameter(f"{argument!r} is too much{near}")


def _see_that_it_answered(cache: Cache) -> None:
    """Fail in an outage that is a miss to programs."""
    if not cache.available:
        _fail(
            f"cache {cache.alias!r}: the store did not answer; repeat it, it may not have been done"
        )


def _fail_missing(cache: Cache, key: str) -> NoReturn:
    _see_that_it_answered(cache)
    why = f"; {_private(cache)}" if cache.backend.kind == "inline" else ""
    _fail(f"cache {cache.alias!r} has no {key!r}{why}")


def _private(cache: Cache) -> str:
    return (
        f"cache {cache.alias!r} lives in this process alone and ends with it: name a durable"
        " store, for example CACHE_URL=sqlite:///cache.db"
    )


def _fail(message: str) -> NoReturn:
    _complain(message)
    raise typer.Exit(1)


def _complain(message: str) -> None:
    typer.echo(f"twofold: {printable(' '.join(message.split()))}", err=True)
