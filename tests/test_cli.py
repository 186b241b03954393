"""The command line, as its users run it; what needs no process of its own runs in this one."""

import json
import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from tests.chaos import MemcachedServer, RedisServer
from twofold import Cache
from twofold.__main__ import main
from twofold.backend import Examined
from twofold.cli.check import Checked
from twofold.cli.corpus import _module, count, key
from twofold.cli.report import _bytes, show_checks
from twofold.cli.values import read_value, show_value
from twofold.registry import configure

OURS = ("TWOFOLD_SETTINGS", "CACHE_URL", "DJANGO_SETTINGS_MODULE", "COLUMNS")
BAD_LOCATION = "/dev/null/no/c.db"


class Ended(NamedTuple):
    status: int
    out: str
    err: str


class Shell:
    """Runs commands in a home, and a working directory, of the test's own.

    Called, it runs `python -m twofold` in a process; `here` runs the same in this one.
    """

    def __init__(
        self, home: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.home = home
        self.env = {"HOME": str(home), "PYTHONWARNINGS": "error"}
        self._patch = patch
        self._capture = capture

    def __call__(self, *args: str, **env: str) -> Ended:
        return self.python("-m", "twofold", *args, **env)

    def python(self, *args: str, **env: str) -> Ended:
        done = subprocess.run(
            [sys.executable, *args],
            check=False,
            capture_output=True,
            encoding="utf-8",
            env=self.environment(**env),
            cwd=self.home,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def here(self, *args: str, typed: str = "", **env: str) -> Ended:
        configure()
        with self._patch.context() as patch:
            patch.setattr(os, "environ", self.environment(**env))
            patch.setattr(sys, "argv", ["twofold", *args])
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(sys, "stdin", StringIO(typed))
            patch.chdir(self.home)
            with pytest.raises(SystemExit) as ended:
                main()
            configure()
        return Ended(int(ended.value.code or 0), *self._capture.readouterr())

    def environment(self, **env: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in OURS}
        return {**inherited, **self.env, **env}


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.fixture
def durable(shell: Shell) -> Shell:
    shell.env["CACHE_URL"] = "sqlite:///cache.db"
    return shell


def one_line(ended: Ended) -> str:
    """Return the complaint, which is one line, of a command that ended with status 1."""
    assert ended.status == 1
    assert ended.err.startswith("twofold: ")
    assert ended.err.count("\n") == 1
    return ended.err


def test_the_demo_counts_what_became_of_each_question(durable: Shell) -> None:
    """Each file is parsed once with a cache; tasks find all; the user's caches are not touched."""
    durable.here("set", "mine", "1")
    ended = durable("demo", "--json", "--files", "8", TWOFOLD_SETTINGS="no.such.module")
    assert (ended.status, ended.err) == (0, "")
    outcome = json.loads(ended.out)
    without, threads, tasks = outcome["ways"]
    asked = outcome["files"] * outcome["asked_each"]
    for way in outcome["ways"]:
        assert way["questions"] == asked == way["parsed"] + way["joined"] + way["found"]
        assert way["seconds"] > 0
    assert (without["parsed"], threads["parsed"]) == (asked, outcome["files"])
    assert tasks["found"] == asked
    assert outcome["saved"] == {
        "parses": asked - outcome["files"],
        "seconds": pytest.approx(without["seconds"] - threads["seconds"]),
    }
    assert durable.here("get", "mine").out == "1\n"


def test_the_demo_reports_to_people(shell: Shell) -> None:
    """One sentence says what was saved, each of the words is explained, and nothing stays."""
    ended = shell("demo", "--files", "8", TMPDIR=str(shell.home))
    assert ended.status == 0
    told = " ".join(ended.out.split())
    assert "What do 8 of this machine's Python files define?" in told
    assert re.search(r"The cache saved 40 of 48 parses: [\d.]+ s instead of [\d.]+ s\.", told)
    assert "found 48 of 48 answers there" in told
    for word in ("found:", "joined:", "parsed:", "tasks:"):
        assert word in told
    assert "…" not in told
    assert [each.name for each in shell.home.iterdir()] == []


def test_the_demo_stops_at_an_interrupt(shell: Shell) -> None:
    """An interrupt ends the demo soon, without a traceback, and nothing of it stays."""
    running = subprocess.Popen(
        [sys.executable, "-m", "twofold", "demo", "--files", "2000"],
        env=shell.environment(TMPDIR=str(shell.home)),
        cwd=shell.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # whoever runs the tests in the background has interrupts ignored, by children too
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
    )
    assert running.stdout is not None
    assert any(b"Each is asked" in line for line in running.stdout)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in err
    assert [*shell.home.iterdir()] == []


def test_a_module_that_cannot_be_parsed_is_counted(tmp_path: Path) -> None:
    """A broken module, or one that is gone, counts nothing and is no error."""
    sources = {"bad syntax": b"def f(:", "a null": b"\0", "no encoding": b"# coding: none\n\xff"}
    for name, source in sources.items():
        path = tmp_path / f"{name}.py"
        path.write_bytes(source)
        assert count(str(path), 0, 0) == {}
    assert count(str(tmp_path / "gone.py"), 0, 0) == {}


def test_what_a_module_defines_is_counted(tmp_path: Path) -> None:
    """The counts are those of the source, of what is nested too."""
    path = tmp_path / "some.py"
    path.write_text("class A:\n  def f(self):\n    async def g():\n      await h()\n")
    counts = count(str(path), 0, 0)
    for kind in ("ClassDef", "FunctionDef", "AsyncFunctionDef", "Await"):
        assert counts[kind] == 1, kind


def test_a_changed_module_has_another_key(tmp_path: Path) -> None:
    """A file that was written again is another entry, so that no result is ever stale."""
    path = tmp_path / "some.py"
    path.write_text("a = 1")
    before = _module(str(path))
    os.utime(path, ns=(1, 1))
    after = _module(str(path))
    assert before is not None
    assert after is not None
    assert key(*before) != key(*after)
    assert _module(str(tmp_path / "gone.py")) is None


def test_check_tries_every_alias_in_both_faces(shell: Shell) -> None:
    """`check` shows each alias with two latencies, warns of unsigned pickles, and ends with 0."""
    (shell.home / "s.toml").write_text(
        '[caches]\ndefault = "memory://"\noff = "dummy://"\n'
        '[caches.disk]\nLOCATION = "sqlite:///c.db"\nSERIALIZER = "pickle"\n'
        '[caches.signed]\nLOCATION = "sqlite:///d.db"\nSERIALIZER = "pickle"\n'
        'SECRET = "s3cr3t-s3cr3t-s3cr3t"\n'
    )
    ended = shell.here("check", TWOFOLD_SETTINGS="s.toml", COLUMNS="200")
    assert ended.status == 0
    for alias, latencies in {"default": 2, "disk": 2, "signed": 2, "off": 0}.items():
        (row,) = (line for line in ended.out.splitlines() if line.split()[:1] == [alias])
        assert row.count(" ms") == latencies
    warnings = ended.err.splitlines()
    assert len(warnings) == 2
    assert "cache 'off': the dummy store keeps nothing" in warnings[0]
    assert "cache 'disk': SERIALIZER 'pickle' without a SECRET" in warnings[1]
    assert "s3cr3t" not in ended.out + ended.err
    assert "disk" not in shell.here("check", "default", TWOFOLD_SETTINGS="s.toml").out


def test_check_warns_of_keys_that_others_have_too(shell: Shell, redis_server: RedisServer) -> None:
    """Servers are shared: without a KEY_PREFIX two applications have the same keys."""
    warned = shell.here("check", CACHE_URL=redis_server.url)
    assert warned.status == 0
    assert "warning: cache 'default': no KEY_PREFIX, and the store is on servers" in warned.err
    for own in ("key_prefix=shop", f"key_function={__name__}:key"):
        assert "no KEY_PREFIX" not in shell.here("check", CACHE_URL=f"{redis_server.url}?{own}").err


def test_check_warns_of_copies_that_nobody_ends(shell: Shell, redis_server: RedisServer) -> None:
    """A store that does not tell of foreign writes has copies of some age; Redis does tell."""
    ended = shell.here("check", CACHE_URL="sqlite:///c.db?near=1mb")
    assert (ended.status, "for 1 s after another has changed it" in ended.err) == (0, True)
    told = shell.here("check", CACHE_URL=f"{redis_server.url}?near=1mb&key_prefix=a")
    assert (told.status, "NEAR" in told.err) == (0, False)


def test_check_warns_of_certificates_that_nobody_verifies(
    shell: Shell, tls_redis: RedisServer
) -> None:
    """TLS to whoever answers protects from nobody who is between."""
    verified = f"{tls_redis.url}?key_prefix=a&ssl_ca_certs={tls_redis.tls.ca}"
    assert "certificate" not in shell.here("check", CACHE_URL=verified).err
    for option in ("ssl_check_hostname=false", "ssl_cert_reqs=none"):
        ended = shell.here("check", CACHE_URL=f"{verified}&{option}")
        name = option.partition("=")[0]
        assert f"OPTIONS['{name}'] leaves the server's certificate unverified" in ended.err


@pytest.mark.parametrize(
    "path",
    [
        "pickle",
        "twofold.codecs.serializers.Pickle",
        "twofold.codecs.serializers:pickle",
        "twofold.contrib.django.pickles.DjangoPickle",
        "tests.test_cli:ByOtherName",
    ],
)
def test_check_warns_of_pickle_in_any_spelling(shell: Shell, path: str) -> None:
    """A serializer that unpickles is one, however its path is written."""
    ended = shell.here("check", CACHE_URL=f"sqlite:///c.db?serializer={path}")
    assert f"SERIALIZER {path!r} without a SECRET" in ended.err


class ByOtherName:
    """A serializer whose name says nothing of pickles."""

    def dumps(self, value: object) -> bytes:
        return pickle.dumps(value)

    def loads(self, data: bytes) -> object:
        return pickle.loads(data)


FORBIDDING = {
    "by its users": {"users": ("default on nopass ~* &* +@all -@scripting",)},
    "by its names": {"lines": ("rename-command EVAL ''",)},
}


@pytest.mark.parametrize("how", FORBIDDING)
def test_check_warns_of_a_redis_that_forbids_scripts(
    shell: Shell, tmp_path: Path, how: str
) -> None:
    """Where EVAL is forbidden, what is a script elsewhere is slower: better known before."""
    lines = FORBIDDING[how].get("lines", ())
    with RedisServer(tmp_path, *lines, users=FORBIDDING[how].get("users", ())) as server:
        ended = shell.here("check", CACHE_URL=f"{server.url}?key_prefix=shop")
    assert ended.status == 0
    assert f"{server.address} forbids EVAL" in ended.err


def test_check_does_not_warn_of_a_redis_that_runs_scripts(
    shell: Shell, redis_server: RedisServer
) -> None:
    """An ordinary server has nothing to be said of its scripts."""
    assert "EVAL" not in shell.here("check", CACHE_URL=redis_server.url).err


def test_check_leaves_nothing_behind(durable: Shell) -> None:
    """`check` removes its probes, and touches nothing else."""
    durable.here("set", "mine", "1")
    assert durable.here("check").status == 0
    assert durable.here("get", "mine").out == "1\n"
    with closing(sqlite3.connect(durable.home / "cache.db")) as database:
        stored = "".join(database.iterdump())
    assert "mine" in stored
    assert "twofold-check" not in stored


def test_check_says_in_one_line_what_is_wrong(shell: Shell) -> None:
    """Wrong settings, an unknown alias, an unreachable store: one clear line and status 1."""
    (shell.home / "bad.toml").write_text('[caches.default]\nBACKEND = "memory"\nTIMOUT = 3\n')
    assert "did you mean 'TIMEOUT'?" in one_line(shell.here("check", TWOFOLD_SETTINGS="bad.toml"))
    assert "did you mean 'default'?" in one_line(shell.here("check", "defalt"))
    lost = shell.here("check", CACHE_URL=f"sqlite:///{BAD_LOCATION}?on_error=miss")
    assert "cache 'default': " in one_line(lost)
    assert BAD_LOCATION in lost.err


def test_check_reports_the_good_beside_the_bad(shell: Shell) -> None:
    """One alias in trouble keeps no other from being tried."""
    (shell.home / "s.toml").write_text(
        f'[caches]\ngood = "memory://"\nbad = "sqlite:///{BAD_LOCATION}"\n'
        '[caches.default]\nBACKEND = "memry"\n'
    )
    ended = shell.here("check", TWOFOLD_SETTINGS="s.toml", COLUMNS="200")
    assert ended.status == 1
    assert "cache 'bad': " in ended.err
    assert "did you mean 'memory'?" in ended.err
    (row,) = (line for line in ended.out.splitlines() if line.split()[:1] == ["good"])
    assert row.count(" ms") == 2


def test_check_shows_how_large_an_item_may_be(
    shell: Shell, memcached_server: MemcachedServer, redis_server: RedisServer
) -> None:
    """The limit of a memcached stands in a column, which is left out where no server has one."""
    (shell.home / "s.toml").write_text(
        f'[caches]\nlimited = "memcached://{memcached_server.address}"\n'
        f'free = "{redis_server.url}"\n'
    )
    limit = int(memcached_server.stats("settings")["item_size_max"])
    ended = shell.here("check", TWOFOLD_SETTINGS="s.toml", COLUMNS="200")
    assert ended.status == 0
    assert "largest item" in ended.out
    servers = [line for line in ended.out.splitlines() if line.endswith((" B  ", " -  "))]
    assert [line.split()[0] for line in servers] == ["limited", "free"]
    assert f" 1 MiB, {limit} B" in servers[0]
    assert memcached_server.address in servers[0]

    alone = shell.here("check", "free", TWOFOLD_SETTINGS="s.toml", COLUMNS="200")
    assert redis_server.address in alone.out
    assert "largest item" not in alone.out


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB, 1024 B"),
        (1_500_000, "1.431 MiB, 1500000 B"),
        (2**30, "1 GiB, 1073741824 B"),
        (2**42, "4096 GiB, 4398046511104 B"),
        (None, "-"),
    ],
)
def test_a_size_is_shown_for_people_and_exactly(count: int | None, shown: str) -> None:
    """Bytes are rounded to a unit that reads well, and stand beside it as they are."""
    assert _bytes(count) == shown


def test_values_go_in_and_come_out(durable: Shell) -> None:
    """`set`, `get`, `ttl`, `delete` and `clear` work on entries that outlive the command."""
    assert durable("set", "k", '{"a": [1, null]}', "--timeout", "10m") == (0, "", "")
    assert durable("get", "k") == (0, '{"a": [1, null]}\n', "")
    assert 500 < float(durable.here("ttl", "k").out) <= 600
    assert durable.here("set", "n", "-5", "--timeout", "none", "--version", "2").status == 0
    assert durable.here("get", "n", "--version", "2").out == "-5\n"
    assert durable.here("ttl", "n", "--version", "2").out == "for ever\n"
    assert durable.here("delete", "k") == (0, "", "")
    assert "has no 'k'" in one_line(durable.here("delete", "k"))
    assert "has no 'k'" in one_line(durable.here("get", "k"))
    assert "has no 'k'" in one_line(durable.here("ttl", "k"))


def test_clear_asks_first(durable: Shell) -> None:
    """`clear` removes nothing before the answer is yes, or `--yes` was given."""
    durable.here("set", "k", "grüße")
    assert durable.here("clear", typed="n\n").status == 1
    assert durable.here("get", "k").out == '"grüße"\n'
    assert durable.here("clear", typed="y\n").status == 0
    assert durable.here("get", "k").status == 1
    durable.here("set", "k", "1")
    assert durable.here("clear", "--yes") == (0, "", "")
    assert durable.here("get", "k").status == 1


@pytest.mark.parametrize(
    "command", ["get k", "set k 1", "delete k", "ttl k", "clear --yes", "invalidate t"]
)
def test_an_outage_is_no_missing_key(shell: Shell, command: str) -> None:
    """Where one is a miss to programs, as in Django, a command says that it was not done."""
    url = "redis://127.0.0.1:1?on_error=miss"
    ended = shell.here(*command.split(), CACHE_URL=url)
    assert ended.status == 1
    assert ended.err.splitlines()[-1].startswith("twofold: cache 'default': the store did not")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--ttl", "10"], "'--ttl' is too much; did you mean 'timeout'?"),
        (["--timout=10"], "did you mean 'timeout'?"),
        (["world"], "'world' is too much"),
    ],
)
def test_what_follows_a_value_is_an_option(durable: Shell, more: list[str], says: str) -> None:
    """Whatever is none is refused, with the nearest right name, and nothing is stored."""
    ended = durable.here("set", "greeting", "hello", *more, COLUMNS="200")
    assert ended.status == 2
    assert says in ended.err
    assert durable.here("get", "greeting").status == 1


def test_tags_are_invalidated(durable: Shell) -> None:
    """By name, of one alias; or what has them is stale."""
    with closing(Cache(f"sqlite:///{durable.home}/cache.db")) as cache:
        cache.set("k", 1, stale=60, tags=["user:7"])
        cache.set("b", 1, tags=["b c", "d"])
        assert durable("invalidate", "another") == (0, "", "")
        assert cache.get("k") == 1
        assert durable.here("invalidate", "user:7", "--keep-stale") == (0, "", "")
        assert (cache.get("k"), cache.get("k", allow_stale=True)) == (None, 1)
        assert durable.here("invalidate", "user:7", "b c").status == 0
        assert (cache.get("b"), cache.get("k", allow_stale=True)) == (None, None)


def test_an_invalidation_that_was_not_done_is_told(shell: Shell) -> None:
    """By the status as well."""
    bad = f"sqlite:///{BAD_LOCATION}"
    one_line(shell.here("invalidate", "t", CACHE_URL=bad))
    assert "lives in this process alone" in one_line(shell.here("invalidate", "t"))
    assert "text of at least one" in one_line(shell.here("invalidate", ""))


def test_every_error_of_the_cache_is_one_line(durable: Shell) -> None:
    """What the cache refuses ends a command with one clear line and status 1."""
    assert "'soon' is no duration" in one_line(durable.here("set", "k", "1", "--timeout", "soon"))
    assert "did you mean 'default'?" in one_line(durable.here("get", "k", "--alias", "defalt"))
    one_line(durable.here("set", "", "1"))
    one_line(durable.here("get", "k", CACHE_URL="sqlit:///c.db"))
    one_line(durable.here("delete", "k", CACHE_URL=f"sqlite:///{BAD_LOCATION}"))


def test_a_value_cannot_command_the_terminal(durable: Shell) -> None:
    """What stands in a store is shown, not obeyed, and JSON stays the same JSON."""
    value = "\x9b2J\u202e\x7f"
    durable.here("set", "k", json.dumps(value))
    ended = durable.here("get", "k")
    assert ended.out == '"\\u009b2J\\u202e\\u007f"\n'
    assert json.loads(ended.out) == value


def test_a_server_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What a server says of itself is neither markup nor an escape sequence."""
    server = Examined("\x1b[2Jh:1", "[red]7\n", 0.001, watch="[b]live\n")
    show_checks(Console(width=200), [Checked("[b]a", "<X\x9b>", servers=(server,))])
    said = capsys.readouterr().out
    for text in ("[b]a", r"<X\u009b>", r"\u001b[2Jh:1", r"[red]7\n", r"[b]live\n"):
        assert text in said
    assert "\x1b" not in said


def test_a_cache_in_memory_is_said_to_end_with_the_command(shell: Shell) -> None:
    """Whoever sets a value in a cache that ends with the command is told of it."""
    ended = shell.here("set", "k", "1")
    assert (ended.status, ended.out) == (0, "")
    assert "lives in this process alone" in ended.err
    assert "lives in this process alone" in one_line(shell.here("get", "other"))


INSTALLED = str(Path(sys.executable).with_name("twofold"))


@pytest.fixture
def downloaded(shell: Shell) -> Shell:
    """A folder of somebody else's, with code that says so when it is imported."""
    code = "import pathlib; pathlib.Path('proof').touch()\nCACHES = {'here': 'memory://'}\n"
    (shell.home / "theirs.py").write_text(code)
    return shell


WAYS_IN = [
    {"TWOFOLD_SETTINGS": "theirs"},
    {"DJANGO_SETTINGS_MODULE": "theirs"},
    {"TWOFOLD_SETTINGS": "backend.toml"},
]


@pytest.mark.parametrize("ways", WAYS_IN, ids=range(3))
@pytest.mark.parametrize("command", [("-I", INSTALLED), ("-m", "twofold")], ids=["twofold", "-m"])
def test_a_folder_is_not_imported_from_unasked(
    downloaded: Shell, command: tuple[str, ...], ways: dict[str, str]
) -> None:
    """A command in a downloaded folder runs none of its code, unless `--app-dir` says so."""
    (downloaded.home / "backend.toml").write_text("[caches.here]\nBACKEND = 'theirs.Store'\n")
    ended = downloaded.python(*command, "check", **ways)
    assert "--app-dir . lets it be imported" in one_line(ended)
    assert not (downloaded.home / "proof").exists()
    downloaded.python(*command, "--app-dir", ".", "check", **ways)
    assert (downloaded.home / "proof").exists()


def test_settings_in_the_folder_named_are_used(downloaded: Shell) -> None:
    """`--app-dir` before or after any command finds the module of the settings there."""
    (downloaded.home / "theirs.py").write_text("CACHES = {'default': 'sqlite:///c.db'}\n")
    downloaded.env["TWOFOLD_SETTINGS"] = "theirs"
    there = ("--app-dir", str(downloaded.home))
    assert downloaded.here("set", "k", "1", *there).status == 0
    assert downloaded.here("get", "k", *there).out == "1\n"
    assert downloaded.here(*there, "ttl", "k").status == 0
    assert downloaded.here("delete", *there, "k").status == 0
    assert downloaded.here("clear", "--yes", *there).status == 0
    ended = downloaded.here("check", *there)
    assert (ended.status, ended.out.splitlines()[0]) == (0, "settings: TWOFOLD_SETTINGS=theirs")
    assert downloaded.here("--app-dir", "nowhere", "check").status == 2


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_the_missing_extra_is_named(shell: Shell, missing: str) -> None:
    """Without the extra the command line says in one line what to install."""
    script = (
        f"import sys; sys.modules['{missing}'] = None; from twofold.__main__ import main; main()"
    )
    assert "pip install '.[cli]'" in one_line(shell.python("-c", script))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"1"', "1"),
        ('{"a": [1]}', {"a": [1]}),
        ("plain", "plain"),
        ("", ""),
        ("NaN", "NaN"),
        ("{'a': 1}", "{'a': 1}"),
    ],
)
def test_a_value_is_json_or_else_text(text: str, value: object) -> None:
    """What is JSON is read as JSON; all else is the text itself."""
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, None, True]}, '{"a": [1, null, true]}'),
        ("é", '"é"'),
        ((1, 2), "(1, 2)"),
        ({1: "a"}, "{1: 'a'}"),
        (float("inf"), "inf"),
        ({1}, "{1}"),
        (b"a", "b'a'"),
    ],
)
def test_a_value_is_shown_as_json_only_where_that_is_all_of_it(value: object, shown: str) -> None:
    """JSON that would come back as something else is not shown; `repr` is."""
    assert show_value(value) == shown


def test_the_version_and_the_help_are_told_by_the_usual_options(shell: Shell) -> None:
    """`--version` ends with it; `-h` is help, behind each command too; a shell may complete."""
    assert shell.here("--version").out == f"twofold {version('twofold')}\n"
    for command in ((), ("check",), ("get",)):
        assert shell.here(*command, "-h").out == shell.here(*command, "--help").out != ""
    assert "--install-completion" in shell.here("-h").out
