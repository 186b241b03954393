"""docs/moving/: what stands in one row does the same on both sides, unless the row says what not.

A page has two blocks of Python, of the other library and of this one, and tables of two columns
with code; a third block ends this side. Each side runs its block, then its column from top to
bottom, in one namespace. Rows that are alike in all but spelling return equal values. In the third
column stands what differs, and then something does: the value, or the class of what is raised.
"""

import ast
import asyncio
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import twofold
from tests import django_project
from tests.chaos import RedisServer

django_project.configure()

from django_redis.pool import ConnectionFactory  # noqa: E402

from twofold.contrib.django import close_all  # noqa: E402

PAGES = sorted((Path(__file__).parent.parent / "docs" / "moving").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \|(.*)\|$", re.MULTILINE)


async def side(setup: str, steps: list[str], end: str, page: str) -> list[Any]:
    """Return what each step returned, or the name of what it raised."""
    names: dict[str, Any] = {"__name__": "page"}
    await run(compile(setup, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    outcomes = []
    for step in steps:
        code = compile(step, page, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            outcomes.append(await run(code, names))
        except Exception as error:
            outcomes.append(type(error).__name__)
    exec(end, names)
    return outcomes


async def run(code: Any, names: dict[str, Any]) -> Any:
    result = eval(code, names)
    return await result if code.co_flags & inspect.CO_COROUTINE else result


def both(page: Path, address: str) -> tuple[list[Any], list[Any], list[tuple[str, str, str]]]:
    text = page.read_text(encoding="utf-8")
    rows = [(there, here, what.strip()) for there, here, what in ROW.findall(text)]
    other, ours, *end = BLOCK.findall(text.replace("127.0.0.1:6379", address))
    left, right, _ = zip(*rows, strict=True)
    outcomes = []
    for setup, column, last in ((other, left, ""), (ours, right, "".join(end))):
        body = side(setup, list(column), last, page.name)
        if "await " in text:
            outcomes.append(asyncio.run(body))
        else:
            with pytest.raises(StopIteration) as done:
                body.send(None)
            outcomes.append(done.value.value)
    there, here = outcomes
    return there, here, rows


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Begin without a value, and close what pages leave open: pools are the process's there."""
    twofold.configure()
    twofold.cache.clear()
    yield
    close_all()
    for pool in ConnectionFactory._pools.values():
        pool.disconnect()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_both_sides_do_what_the_page_says(page: Path, redis_server: RedisServer) -> None:
    """What was measured in a row is the same, or the row says what is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other libraries
        there, here, rows = both(page, redis_server.address)
    assert len(rows) >= 8
    for left, right, (left_code, right_code, differs) in zip(there, here, rows, strict=True):
        alike = left == right and type(left) is type(right)
        assert alike is not bool(differs), f"{left_code}: {left!r}; {right_code}: {right!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_first_what_it_comes_to(page: Path) -> None:
    """Three lines in short, then both sides."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Moving from ")
    assert lines[2].startswith("In short: ")
    assert lines[5:9] == ["", "There:", "", "```python"]
