"""README, CHANGELOG, CONTRIBUTING and docs/: every example runs, and every link leads somewhere.

The conventions of a page:

- Its ```python blocks run in order, in one namespace and one empty folder, with no settings.
  A block that awaits at its top level runs in an event loop, any other outside of one.
- `expression  # -> value` is checked against the value's repr, `# raises Name` against the
  exception that the statement raises, and what it is derived from.
- A block that begins with `# docs/examples/NAME.py` is that file, and is imported from there;
  the files of a whole project, which stand in a folder, are run by `test_example_projects`.
  Examples that are tests are among those that pytest collects.
- ```toml blocks with caches are settings, which are read and built.
- The pages of docs/first-day/ have other conventions, which `test_first_days` tells.
- ```console blocks show commands that exist. Programs (`python NAME.py`), and `twofold check`,
  `get`, `set` and `delete`, are run in a folder with the examples, and print what is shown;
  of what `check` shows, the figures may differ.
- The addresses in `STAND_INS` are those of real servers, which the fault harness starts when a
  page names one. Where the tests run, they have other addresses: the text of a block is changed
  before it runs.
"""

import ast
import asyncio
import inspect
import io
import math
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple, TypeAlias

import pytest

import twofold
from tests import django_project, freshness_table, kinds_table
from tests.chaos import MemcachedServer, RedisCluster, RedisSentinels, RedisServer, Server
from tests.chaos.certificates import Certificates
from twofold import Cache, caches
from twofold.backend import Backend
from twofold.freshness.options import Freshness
from twofold.settings import CacheConfig, backend_class, read_cache

django_project.configure()

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FIRST_DAYS = ROOT / "docs" / "first-day"
TYPED = [page for page in PAGES if page.parent != FIRST_DAYS]
"""Pages that are run here; `test_first_days` has the others."""
LANGUAGES = {"python", "toml", "console", "text"}

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
EXAMPLE = re.compile(r"# docs/examples/([\w/]+)\.py\n")
OPTION_TABLE = re.compile(r"^##+ Options of `(\w+)`\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
ACL_RULE = re.compile(r"^user (shop .+)$", re.MULTILINE)

Rewrite: TypeAlias = Callable[[str], str]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __repr__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def example(self) -> str | None:
        """Return the name of the file in docs/examples that this is."""
        named = EXAMPLE.match(self.text)
        return named and named[1]


def blocks_of(page: Path, language: str | None = None) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, each.start()) + 1, each[1], each[2])
        for each in BLOCK.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def all_blocks(language: str) -> list[Block]:
    return [block for page in TYPED for block in blocks_of(page, language)]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Statement:
    """A top-level statement of a block, and what the comment on its last line promises."""

    def __init__(self, block: Block, node: ast.stmt, promise: str | None) -> None:
        self.where = f"{name_of(block.page)}:{node.lineno}"
        self.value, self.error = _read_promise(promise)
        self.code = self._compile(block, node)
        self.awaits = bool(self.code.co_flags & inspect.CO_COROUTINE)

    def _compile(self, block: Block, node: ast.stmt) -> CodeType:
        tree: ast.Module | ast.Expression
        if self.value is None:
            tree, mode = ast.Module([node], []), "exec"
        else:
            assert isinstance(node, ast.Expr), f"{self.where}: only an expression has a value"
            tree, mode = ast.Expression(node.value), "eval"
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code: CodeType = compile(tree, str(block.page), mode, flags)
        return code

    def run(self, names: dict[str, Any]) -> None:
        try:
            result = eval(self.code, names)
        except Exception as exc:
            self._check_error(exc)
        else:
            self._check_value(result)

    async def arun(self, names: dict[str, Any]) -> None:
        try:
            result = eval(self.code, names)
            if self.awaits:
                result = await result
        except Exception as exc:
            self._check_error(exc)
        else:
            self._check_value(result)

    def _check_error(self, exc: Exception) -> None:
        if self.error is None:
            raise exc
        names = {each.__name__ for each in type(exc).__mro__}
        assert self.error in names, f"{self.where}: {exc!r}"

    def _check_value(self, result: object) -> None:
        assert self.error is None, f"{self.where}: nothing was raised"
        assert self.value in (None, repr(result)), f"{self.where}: it is {result!r}"


def _read_promise(promise: str | None) -> tuple[str | None, str | None]:
    """Return the value, or the name of the exception, that a comment promises."""
    if promise is None:
        return None, None
    kind, _, rest = promise.removeprefix("#").strip().partition(" ")
    return (rest.strip(), None) if kind == "->" else (None, rest.strip())


def statements_of(block: Block) -> list[Statement]:
    nodes = ast.parse(block.text).body
    for node in nodes:
        ast.increment_lineno(node, block.line)
    promises = {line + block.line: text for line, text in _promises(block.text)}
    kept = [promises.pop(node.end_lineno or 0, None) for node in nodes]
    assert not promises, f"{block!r}: promises that nothing keeps: {promises}"
    return [Statement(block, node, promise) for node, promise in zip(nodes, kept, strict=True)]


def _promises(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and re.match(r"# *(->|raises) ", token.string):
            yield token.start[0], token.string


def run_block(block: Block, names: dict[str, Any]) -> None:
    statements = statements_of(block)
    if any(statement.awaits for statement in statements):
        asyncio.run(_arun(statements, names))
    else:
        for statement in statements:
            statement.run(names)


async def _arun(statements: list[Statement], names: dict[str, Any]) -> None:
    for statement in statements:
        await statement.arun(names)


@pytest.fixture
def newcomer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Stand where a reader stands: in an empty folder, without settings."""
    for name in ("TWOFOLD_SETTINGS", "CACHE_URL", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    twofold.configure()
    twofold.cache.clear()  # a store in memory may outlive the caches that used it
    yield
    twofold.configure()
    for example in EXAMPLES.glob("*.py"):
        sys.modules.pop(example.stem, None)


@pytest.fixture(scope="module")
def _redis_of_pages(
    _guard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Start a Redis with the user, and that user's rights, that a page tells of."""
    [rule] = ACL_RULE.findall(reference("redis.md"))
    with RedisServer(tmp_path_factory.mktemp("pages"), users=(rule,)) as server:
        yield server


@pytest.fixture
def redis_of_pages(_redis_of_pages: RedisServer) -> RedisServer:
    """Return a Redis without a key."""
    _redis_of_pages.flush()
    return _redis_of_pages


@pytest.fixture
def tls_of_pages(tls_redis: RedisServer, certificates: Certificates, newcomer: None) -> RedisServer:
    """Return a Redis with TLS; the certificate of its authority is in the reader's folder."""
    shutil.copy(certificates.ca, "ca.pem")
    return tls_redis


@pytest.fixture(scope="module")
def _memcached_of_pages(
    _guard: None, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, MemcachedServer]]:
    """Start the servers that a page tells of, each with its own option."""

    def started(*options: str, **more: Any) -> MemcachedServer:
        folder = tmp_path_factory.mktemp("m")  # short: it is in the name of a socket
        return stack.enter_context(MemcachedServer(folder, *options, **more))

    with ExitStack() as stack:
        yield {
            "login": started(login="shop:secret"),
            "no list": started("-X"),
            "socket": started(unix=True),
            "tls": started(tls=certificates),
        }


@pytest.fixture
def memcached_of_pages(
    _memcached_of_pages: dict[str, MemcachedServer], certificates: Certificates, newcomer: None
) -> dict[str, MemcachedServer]:
    """Return servers without an item; the certificate for one is in the reader's folder."""
    shutil.copy(certificates.ca, "ca.pem")
    for server in _memcached_of_pages.values():
        server.flush()
    return _memcached_of_pages


def _address(server: Server) -> str:
    return server.address


def _socket(server: RedisServer | MemcachedServer) -> str:
    return str(server.socket_path)


def _one(n: int) -> Callable[[list[MemcachedServer]], str]:
    return lambda servers: servers[n].address


def _named(name: str) -> Callable[[dict[str, MemcachedServer]], str]:
    return lambda servers: servers[name].address


def _node(n: int) -> Callable[[RedisCluster], str]:
    return lambda cluster: cluster.nodes[n].address


def _sentinel(n: int) -> Callable[[RedisSentinels], str]:
    return lambda sentinels: sentinels.sentinels[n].address


STAND_INS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "127.0.0.1:6379": ("redis_of_pages", _address),
    "/run/redis/redis.sock": ("redis_of_pages", _socket),
    "127.0.0.1:6390": ("tls_of_pages", _address),
    **{f"127.0.0.1:700{n}": ("redis_cluster", _node(n)) for n in range(3)},
    **{f"127.0.0.1:{26379 + n}": ("redis_sentinels", _sentinel(n)) for n in range(3)},
    **{f"127.0.0.1:{11211 + n}": ("memcached_servers", _one(n)) for n in range(3)},
    "127.0.0.1:11219": ("memcached_of_pages", _named("no list")),
    "127.0.0.1:11280": ("memcached_of_pages", _named("login")),
    "127.0.0.1:11290": ("memcached_of_pages", _named("tls")),
    "/run/memcached/memcached.sock": ("memcached_of_pages", lambda some: _socket(some["socket"])),
}
"""What a page names, the fixture of the server that stands in for it, and where that is."""


@pytest.fixture
def stand_in(newcomer: None, request: pytest.FixtureRequest) -> Rewrite:
    """Return a function that puts servers of the fault harness where a text names servers."""

    def rewritten(text: str) -> str:
        for name, (fixture, where) in STAND_INS.items():
            if name in text:
                text = text.replace(name, where(request.getfixturevalue(fixture)))
        return text

    return rewritten


@pytest.mark.parametrize("page", TYPED, ids=name_of)
def test_the_python_of_a_page_runs(
    page: Path, stand_in: Rewrite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page shows does what it says, in the order in which it is read."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    names = vars(module)
    for block in blocks_of(page, "python"):
        example = block.example()
        if example is None:
            run_block(block._replace(text=stand_in(block.text)), names)
        elif not example.startswith("test_") and "/" not in example:
            names.update(vars(import_module(example)))


def test_the_tutorial_is_typed_into_one_prompt(stand_in: Rewrite) -> None:
    """In `python -m asyncio`, and in a notebook, a loop runs around every line of it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    blocks = blocks_of(ROOT / "docs" / "tutorial.md", "python")
    typed = [each._replace(text=stand_in(each.text)) for each in blocks if each.example() is None]
    asyncio.run(_arun([line for each in typed for line in statements_of(each)], names))


def test_the_first_block_of_the_readme_is_a_program(newcomer: None, tmp_path: Path) -> None:
    """Saved as a file, it prints what stands below it."""
    program, shown = blocks_of(ROOT / "README.md")[:2]
    (tmp_path / "first.py").write_text(program.text, encoding="utf-8")
    command = [sys.executable, "-W", "error", "first.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (shown.text, "")


@pytest.mark.parametrize("block", all_blocks("python"), ids=repr)
def test_an_example_stands_in_its_file(block: Block) -> None:
    """A block that names a file of docs/examples is that file; tests are always such blocks."""
    example = block.example()
    if example is not None:
        assert block.text == (EXAMPLES / f"{example}.py").read_text(encoding="utf-8")
    names = [getattr(node, "name", "") for node in ast.parse(block.text).body]
    tests = [name for name in names if name.startswith(("test_", "Test"))]
    assert not tests or (example or "").startswith("test_"), "nothing runs these tests"


def test_every_example_is_shown() -> None:
    """No file in docs/examples is left without a page."""
    shown = {block.example() for block in all_blocks("python")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= shown


def test_the_examples_are_tested(pytestconfig: pytest.Config) -> None:
    """Those that are tests are collected by pytest, like the tests in this folder."""
    assert "docs/examples" in pytestconfig.getini("testpaths")


TABLES_OF_OTHERS = {"project"}
SETTINGS = [
    block for block in all_blocks("toml") if not TABLES_OF_OTHERS & tomllib.loads(block.text).keys()
]


@pytest.mark.parametrize("block", SETTINGS, ids=repr)
def test_the_toml_of_a_page_is_read(
    block: Block, newcomer: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings in TOML are found, and each alias in them is built."""
    (tmp_path / "settings.toml").write_text(block.text, encoding="utf-8")
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).touch()
    monkeypatch.setenv("TWOFOLD_SETTINGS", "settings.toml")
    twofold.configure()
    for alias in caches:
        assert caches[alias].alias == alias


COMMANDS = (
    r"(?:\w+=\S+ )*(?:python -m )?twofold (\w+)( .*)?",
    r"python -m pip install .+",
    r"(\w+=\S+ )*sh (tests|docs)/\w+\.sh( .+)?",
    r"python -m tests\.\w+( .+)?",
    r"(\w+=\S+ )*python (\S+\.py)",
    r"(python -m )?pytest( .+)?",
)


@pytest.mark.parametrize("block", all_blocks("console"), ids=repr)
def test_the_commands_of_a_page_exist(block: Block, commands: set[str]) -> None:
    """Every line after a prompt is a command of ours, or of Python's usual tools."""
    for line in block.text.splitlines():
        for command in line.removeprefix("$ ").split(" && ") if line.startswith("$ ") else ():
            assert any(re.fullmatch(each, command) for each in COMMANDS), command
            ours = re.fullmatch(COMMANDS[0], command)
            assert ours is None or ours[1] in commands, command


PROGRAM = re.compile(
    r"^\$ (?:\w+=\S+ )*(?:python \w+\.py|twofold (?:get|set|delete) .+|\w+=\S+ twofold check)$",
    re.MULTILINE,
)


@pytest.mark.parametrize("page", TYPED, ids=name_of)
def test_the_programs_of_a_page_print_what_it_shows(
    page: Path, stand_in: Rewrite, tmp_path: Path
) -> None:
    """A reader who types the commands of a page, in their order, sees what stands there."""
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    for block in blocks_of(page, "console"):
        if PROGRAM.search(block.text):
            printed, shown = "".join(_typed(block.text, stand_in)), stand_in(block.text)
            if "twofold check" in shown:
                printed, shown = map(_without_figures, (printed, shown))
            assert printed == shown


def _typed(text: str, stand_in: Rewrite) -> Iterator[str]:
    """Type the commands of a console, and return what it shows."""
    for line in PROGRAM.findall(stand_in(text)):
        command = line.removeprefix("$ ").replace("twofold ", "python -m twofold ", 1)
        command = command.replace("python ", f"{sys.executable} -W error ", 1)
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        yield f"{line}\n{done.stdout}{done.stderr}"


def _without_figures(text: str) -> str:
    """Return the words of a text; figures and the widths of columns differ from run to run."""
    return " ".join(re.sub(r"[\d.]+|─+", " ", text).split())


@pytest.fixture(scope="module")
def commands() -> set[str]:
    """Return the subcommands that `twofold --help` lists."""
    shown = subprocess.run(
        [sys.executable, "-m", "twofold", "--help"], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^\W*(\w+) {2,}", shown.stdout, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_well_formed(page: Path) -> None:
    """Its blocks are closed and of a language that a test looks at; its first line is a title."""
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert text.count("```") == 2 * len(blocks_of(page))
    assert {block.language for block in blocks_of(page)} <= LANGUAGES


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=name_of)
def test_a_page_begins_with_what_it_comes_to(page: Path) -> None:
    """Three lines in short, of a paragraph of their own; the index is short itself."""
    if page.name != "index.md":
        _, _, rest = page.read_text(encoding="utf-8").partition("\n\n")
        begins = rest.partition("\n\n")[0]
        assert begins.startswith("In short: ")
        assert begins.count("\n") == 2


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=name_of)
def test_a_page_soon_has_an_example(page: Path) -> None:
    """It stands before the first of the page's parts; a decision has none."""
    if page.name != "index.md" and page.parent.name != "decisions":
        first = page.read_text(encoding="utf-8").partition("\n## ")[0]
        assert BLOCK.search(first)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_was_measured_says_when(page: Path) -> None:
    """A paragraph with figures that were measured names the day."""
    for paragraph in page.read_text(encoding="utf-8").split("\n\n"):
        if re.search(r"(?i:were|are|\A|\()\s*measured\b(?! by)", paragraph):
            assert re.search(r"\d+ [A-Z][a-z]+ 20\d\d", paragraph), paragraph


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """A link inside the project leads to a file that is there, and to a heading in it."""
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    """Return the anchors that a forge makes of the headings."""
    headings = HEADING.findall(BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_index_lists_every_page() -> None:
    """Each page of docs/ is to be found from docs/index.md."""
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} - {"index.md"}
    assert pages == {link for link in LINK.findall(index) if link.endswith(".md")}


def reference(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", twofold.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """A name that can be imported from twofold stands in some page."""
    pages = (ROOT / "docs").glob("*.md")
    assert any(re.search(rf"\b{name}\b", page.read_text(encoding="utf-8")) for page in pages)


@pytest.mark.parametrize("name", [each for each in vars(Cache) if not each.startswith("_")])
def test_every_operation_is_documented(name: str) -> None:
    """Every method of `Cache` stands in the page of operations."""
    assert re.search(rf"`{name}[(`]", reference("operations.md"))


@pytest.mark.parametrize("name", [each.upper() for each in CacheConfig.__dataclass_fields__])
def test_every_setting_is_documented(name: str) -> None:
    """Every key of an alias stands in the page of settings."""
    assert name == "ALIAS" or f"`{name}`" in reference("settings.md")


@pytest.mark.parametrize("name", Freshness.__annotations__)
def test_every_option_of_freshness_is_documented(name: str) -> None:
    """It has a row in the page of freshness, and stands beside the other options."""
    assert f"| `{name}` |" in reference("freshness.md")
    assert all(f"`{name}`" in reference(f"{page}.md") for page in ("settings", "decorators"))


def test_the_table_of_freshness_says_what_is_decided() -> None:
    """The whole table is what the function that decides says, and cannot drift from it."""
    assert "\n".join(["", *freshness_table.lines(), ""]) in reference("freshness.md")


def test_the_table_of_kinds_says_what_was_tried() -> None:
    """The whole table of what can be cached is what comes of trying."""
    assert f"\n{kinds_table.table()}\n" in reference("what-can-be-cached.md")


@pytest.mark.parametrize("name", ["dummy", "files", "memcached", "memory", "redis", "sqlite"])
def test_the_option_tables_agree_with_the_constructors(name: str) -> None:
    """Each option is listed, with the default that it has."""
    pages = map(reference, ("settings.md", "redis.md", "memcached.md"))
    sections = dict(OPTION_TABLE.findall("".join(pages)))
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| `([^`]+)` \|", sections[name], re.MULTILINE)
    listed = {option: _default(text) for option, text in rows}
    assert listed == _options(backend_class(read_cache("x", {"BACKEND": name})))


def _default(text: str) -> object:
    """Return what a table shows as a default: `None`, or a product as `256 * 1024 * 1024`."""
    factors = [ast.literal_eval(each.strip()) for each in text.split("*")]
    return factors[0] if len(factors) == 1 else math.prod(factors)


def _options(backend: type[Backend]) -> dict[str, object]:
    constructors = [vars(cls)["__init__"] for cls in backend.__mro__ if "__init__" in vars(cls)]
    parameters = [
        each for one in constructors for each in inspect.signature(one).parameters.values()
    ]
    keywords = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    return {option: default for option, default in keywords.items() if option != "clock"}
