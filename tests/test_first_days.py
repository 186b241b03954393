"""The first days of docs/first-day/: each from an empty folder, step by step as its page tells.

The conventions of these pages:

- A block whose first line is `# NAME` is that file; with `, at the end` it is added to one.
- ```console blocks are typed, and show what is printed. What serves (`flask run`) goes on until the
  next of its kind, on a free port instead of the one that `curl` names. What is installed is there.
- In a notebook each ```python block is a cell, and the ```text block after it what the cell shows.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.test_docs import FIRST_DAYS as PAGES
from tests.test_docs import Block, blocks_of
from tests.web import ROOT, WebServer

BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("TWOFOLD_")},
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
}
for name in ("CACHE_URL", "DJANGO_SETTINGS_MODULE", "PYTHONPATH"):
    ENVIRONMENT.pop(name, None)

FILE = re.compile(r"# ([\w/.]+)(, at the end)?\n")
COMMAND = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
CURL = re.compile(r"curl (-si )?http://127\.0\.0\.1:\d+(/\S*)( \| grep -i cache-status)?")
INSTALL = re.compile(r"python -m pip install '?\.\./twofold(?:\[([\w,]+)\])?'?(?: \w+)*")
SERVERS = {
    "flask run": "--port={port}",
    "uvicorn app:app": "--port={port}",
    "python manage.py runserver": "{port} --noreload",  # it would leave a child
}


class Served(WebServer):
    """What a command of a page serves."""

    def _command(self) -> list[str]:
        program, *arguments = [each.format(port=self.port) for each in self._arguments]
        return [str(BIN / program), *arguments]

    def ping(self) -> bool:
        """Whether somebody listens; to ask for a page would be what only the reader does."""
        socket.create_connection((self.host, self.port), 1).close()
        return True

    def end(self) -> None:
        """Press Ctrl-C; it has nothing to say against how it was used."""
        if self._process is not None:
            self._process.end(signal.SIGINT, 10)
        said = self._log.read_text()
        assert not re.search("Traceback|Warning:|ERROR|twofold:", said), said


class Newcomer:
    """Who does what a page says, in a folder that is empty at first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Served | None = None

    def __enter__(self) -> "Newcomer":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.kill()

    def follow(self, page: Path) -> None:
        for block in blocks_of(page):
            if block.language == "console":
                for command, shown in COMMAND.findall(block.text):
                    printed = self._type(command)
                    assert shown in ("", printed), f"{block!r}: {command}: {printed}"
            else:
                self._save(block)
        if self._server is not None:
            self._server.end()

    def _save(self, block: Block) -> None:
        named = FILE.match(block.text)
        assert named, f"{block!r} names no file"
        file = self._folder / named[1]
        before = file.read_text(encoding="utf-8") if named[2] else ""
        file.write_text(before + block.text, encoding="utf-8")

    def _type(self, command: str) -> str:
        """Do what a command says, and return what it prints."""
        if asked := CURL.fullmatch(command):
            return self._ask(asked[2], headers=bool(asked[1]))
        if command in SERVERS:
            return self._serve(command)
        if INSTALL.fullmatch(command):
            return ""
        words = shlex.split(command)
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self._folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done.stderr}"
        return done.stdout

    def _serve(self, command: str) -> str:
        if self._server is not None:
            self._server.end()
        line = shlex.split(f"{command} {SERVERS[command]}")
        self._server = Served(self._folder, line)
        self._server.start()
        return ""

    def _ask(self, where: str, *, headers: bool) -> str:
        assert self._server is not None, "nothing is served yet"
        connection = HTTPConnection(self._server.host, self._server.port, timeout=30)
        try:
            connection.request("GET", where)
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, body
        if headers:
            told = [line for line in answer.getheaders() if line[0].lower() == "cache-status"]
            return "".join(f"{name}: {value}\n" for name, value in told)
        return body.rstrip("\n") + "\n"


@pytest.mark.parametrize("name", ["django", "fastapi", "flask", "script"])
def test_the_first_day_goes_as_its_page_tells(name: str, tmp_path: Path) -> None:
    """From an empty folder on, every step does what stands there, and shows what stands there."""
    with Newcomer(tmp_path) as newcomer:
        newcomer.follow(PAGES / f"{name}.md")


def test_the_notebook_shows_what_its_page_tells(tmp_path: Path) -> None:
    """A kernel in an empty folder runs the cells, and each shows what stands below it."""
    cells: list[Any] = []
    shown: list[str] = []
    for block in blocks_of(PAGES / "notebook.md"):
        if block.language == "python":
            cells.append(nbformat.v4.new_code_cell(block.text.rstrip("\n")))
            shown.append("")
        elif block.language == "text":
            shown[-1] = block.text
    file = tmp_path / "first.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    command = [str(BIN / "jupyter-execute"), "--inplace", "--timeout=30", file.name]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(file, as_version=4)
    assert ["".join(_outputs(cell)) for cell in executed.cells] == shown


def _outputs(cell: Any) -> Iterator[str]:
    """Return what stands below a cell, as text."""
    for output in cell["outputs"]:
        yield output["text"] if "text" in output else output["data"]["text/plain"] + "\n"


def test_every_first_day_is_tested() -> None:
    tested = {"django", "fastapi", "flask", "notebook", "script"}
    assert {page.stem for page in PAGES.glob("*.md")} == tested


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_what_is_installed_is_an_extra(page: Path) -> None:
    """The first command of a page installs twofold, with extras that it has."""
    first = COMMAND.search(page.read_text(encoding="utf-8"))
    assert first
    named = INSTALL.fullmatch(first[1])
    assert named, first[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    assert {each for each in (named[1] or "").split(",") if each} <= extras
