"""Whoever sends, stores or configures a text pays for it once: each parser is linear.

Not a clock but steps are counted (`tests.steps`), on input of doubling size.
"""

import inspect
import pkgutil
import random
import re
import urllib.parse
from collections.abc import Callable
from importlib import import_module
from itertools import product
from types import ModuleType
from typing import Any

import pytest

import twofold
from tests.steps import CountedPattern, Counter, Steps, op, parser, patterns_of
from twofold.backends.memcached.addresses import read_location as memcached_location
from twofold.backends.memcached.replies import Reader as MemcachedReader
from twofold.backends.network import INCOMPLETE
from twofold.backends.redis.addresses import read_addresses as redis_addresses
from twofold.backends.redis.replies import PythonReader
from twofold.contrib.http.cache_control import CacheControl
from twofold.contrib.http.freshness import lifetime
from twofold.contrib.http.headers import Headers, varying
from twofold.contrib.http.validators import not_modified
from twofold.display import mask_url
from twofold.keys.maker import normalise
from twofold.settings.urls import literal, split
from twofold.timeouts import seconds

SIZE = 30  # repetitions of what is pumped; the second run has twice as many
MOST = 2.6  # times the steps for twice the size; a quadratic parser comes near four
OVERHEAD = 150  # steps that do not depend on the size


def _modules() -> list[ModuleType]:
    names = [each.name for each in pkgutil.walk_packages(twofold.__path__, "twofold.")]
    return [import_module(name) for name in names if not name.endswith("__main__")]


MODULES = _modules()
PLACES = {
    f"{each.__name__}.{name}": value for each in MODULES for name, value in vars(each).items()
}
PATTERNS = patterns_of(MODULES)


@pytest.mark.parametrize("one_of", [3, pytest.param(1, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("place", sorted(PATTERNS))
def test_each_regular_expression_is_linear(place: str, one_of: int) -> None:
    """No pattern of the house backtracks over what it has read, whatever is repeated."""
    pattern = PATTERNS[place]
    for method in _uses(place):
        for make in _hostile(pattern)[::one_of]:
            fewer, more = (_steps(pattern, method, make(size)) for size in (SIZE, 2 * SIZE))
            assert more <= MOST * fewer + OVERHEAD, (method, make(3), fewer, more)


def _steps(pattern: re.Pattern[Any], method: str, text: str) -> int:
    steps = Steps()
    given: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
    arguments = (given[:0], given) if method == "sub" else (given,)
    getattr(CountedPattern(pattern, steps), method)(*arguments)
    return steps.count


def _uses(place: str) -> set[str]:
    """Return the methods by which a pattern is used, by the source of all modules."""
    name, value = place.rpartition(".")[2], PLACES[place]
    having = [module for module in MODULES if vars(module).get(name) is value]
    sources = [inspect.getsource(module) for module in having]
    called = {use for each in sources for use in re.findall(rf"\b{name}\.(\w+)\(", each)}
    bound = {use for each in sources for use in re.findall(rf"{name}\b.*=.*\)\.(\w+)$", each, re.M)}
    return (called | bound) & {
        "match",
        "fullmatch",
        "search",
        "findall",
        "finditer",
        "sub",
        "split",
    }


def _hostile(pattern: re.Pattern[Any]) -> list[Any]:
    """Return functions of a size that make texts: a beginning, what is pumped, an end.

    The beginnings are what the pattern takes before something that repeats; pumped are one
    or two characters that it tells apart.
    """
    tree = list(parser.parse(pattern.pattern, pattern.flags))
    letters = sorted({letter for node in tree for letter in _letters(node)} | {"\n"})[:5]
    repeating = [place for place, node in enumerate(tree) if _repeats(node)]
    heads = {"".join(map(_shortest, tree[:end])) for end in repeating}
    heads |= {head + letter for head, letter in product(heads, letters)}
    pumps = {*letters, *map("".join, product(letters, repeat=2))}
    ends = ("", "\\")
    return [
        lambda size, head=head, pump=pump, end=end: head + pump * size + end
        for head, pump, end in product(sorted(heads), sorted(pumps), ends)
    ]


def _repeats(node: tuple[Any, Any]) -> bool:
    kind, value = node
    if kind is op.SUBPATTERN:
        return any(map(_repeats, value[3]))
    if kind is op.BRANCH:
        return any(_repeats(each) for way in value[1] for each in way)
    return kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT, op.ATOMIC_GROUP)


def _letters(node: tuple[Any, Any]) -> set[str]:
    """Return characters that tell what a node takes from what it does not."""
    kind, value = node
    if kind in (op.LITERAL, op.NOT_LITERAL):
        return {chr(value)}
    if kind is op.IN:
        return {_of_class(value)} | {chr(v) for k, v in value if k is op.LITERAL}
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return {letter for each in value[2] for letter in _letters(each)}
    if kind is op.BRANCH:
        return {letter for way in value[1] for each in way for letter in _letters(each)}
    if kind is op.SUBPATTERN:
        return {letter for each in value[3] for letter in _letters(each)}
    if kind in (op.ATOMIC_GROUP, op.ASSERT, op.ASSERT_NOT):
        body = value if kind is op.ATOMIC_GROUP else value[1]
        return {letter for each in body for letter in _letters(each)}
    return {"a"} if kind is op.ANY else set()


def _shortest(node: tuple[Any, Any]) -> str:
    """Return a short text that a node takes."""
    kind, value = node
    if kind is op.LITERAL:
        return chr(value)
    if kind is op.IN:
        return _of_class(value)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return "".join(map(_shortest, value[2])) * value[0]
    if kind is op.SUBPATTERN:
        return "".join(map(_shortest, value[3]))
    if kind is op.BRANCH:
        return "".join(map(_shortest, value[1][0]))
    return "a" if kind in (op.ANY, op.NOT_LITERAL) else ""


def _of_class(items: list[Any]) -> str:
    """Return a character of a class such as `[^a-z]`."""
    negated = items[0][0] is op.NEGATE
    taken = [_of_item(each) for each in items[negated:]]
    return next(each for each in "a1 ;-~é" if each not in taken) if negated else taken[0]


def _of_item(item: tuple[Any, Any]) -> str:
    kind, value = item
    if kind is op.LITERAL:
        return chr(value)
    if kind is op.RANGE:
        return chr(value[0])
    return {op.CATEGORY_SPACE: " ", op.CATEGORY_NOT_SPACE: "a", op.CATEGORY_WORD: "a"}.get(
        value, "1"
    )


def _members(text: Any) -> object:
    return Headers([(b"cache-control", text)]).members("cache-control")


def _cache_control(text: Any) -> object:
    return CacheControl(Headers([(b"cache-control", text)]))


def _not_modified(text: Any) -> object:
    conditions = Headers([(b"if-none-match", text), (b"if-modified-since", text)])
    return not_modified(conditions, Headers([(b"etag", b'"x"')]), NOW)


def _lifetime(text: Any) -> object:
    names = (b"age", b"date", b"expires", b"vary")
    headers = Headers([(name, text) for name in names])
    return varying(headers), lifetime(headers, NOW, 60)


def _reply_at_once(reader: Any, data: Any) -> None:
    reader.feed(data)
    while reader.gets() is not INCOMPLETE:
        pass


def _reply_by_bytes(reader: Any, data: Any) -> None:
    for place in range(len(data)):
        reader.feed(data[place : place + 1])
        while reader.gets() is not INCOMPLETE:
            pass


def _parts_of_url(text: Any) -> object:
    return split(text, {"TIMEOUT", "KEY_PREFIX"})


NOW = 1_800_000_000.0
HEADER = ["a", "1", '"', "\\", '\\"', ",", ";", "=", " ", "\t", "W/", '"x",', "a=1,", ":", "\xe9"]
URL = [
    "a",
    "1",
    ":",
    "/",
    "@",
    "?",
    "&",
    "=",
    "&password=",
    "%",
    "%40",
    ",",
    ";",
    " ",
    ".",
    "e",
    "[",
]
URL += ["redis://", "u:p@", "a=1&"]
TIME = ["1", ".", "1.", " ", "m", "1m", "1m ", "ms", "1e9", "-"]
REDIS = ["*1\r\n", "*", "$0\r\n\r\n", "$-1\r\n", ":1\r\n", "+a\r\n", "-a\r\n", "\r", "\n", "1", "a"]
MEMCACHED = ["VALUE a 0 1\r\nx\r\n", "VALUE a 0 0 1\r\n\r\n", "VALUE ", "END\r\n", "STAT a b\r\n"]
MEMCACHED += ["key=a exp=1\n", "HD\r\n", "\r", "\n", "\r\n", " ", "1", "a"]

PARSERS: dict[str, tuple[Callable[[Any], object], list[str], str, type]] = {
    "members of a header field": (_members, HEADER, "", bytes),
    "Cache-Control": (_cache_control, HEADER, "max-age=", bytes),
    "conditions of a request": (_not_modified, HEADER, '"', bytes),
    "ages, dates and Vary": (_lifetime, HEADER, "Sun, 06 Nov 1994 ", bytes),
    "a duration": (seconds, TIME, "1", str),
    "the parts of a URL": (_parts_of_url, URL, "redis://h/?", str),
    "a URL in a message": (mask_url, URL, "redis://u:", str),
    "a location of Redis": (lambda text: redis_addresses(text, 6379), URL, "redis://", str),
    "a location of memcached": (memcached_location, URL, "memcached://", str),
    "a value in a URL": (literal, URL, "1", str),
    "a Redis reply": (lambda data: _reply_at_once(PythonReader(), data), REDIS, "", bytes),
    "a Redis reply, byte by byte": (
        lambda data: _reply_by_bytes(PythonReader(), data),
        REDIS,
        "*9\r\n",
        bytes,
    ),
    "a memcached reply": (
        lambda data: _reply_at_once(MemcachedReader(), data),
        MEMCACHED,
        "",
        bytes,
    ),
    "a memcached reply, byte by byte": (
        lambda data: _reply_by_bytes(MemcachedReader(), data),
        MEMCACHED,
        "VALUE k 0 100\r\n",
        bytes,
    ),
    "a key": (normalise, ["a", " ", "\xe9", "#", ":", "\n"], "a" * 300, str),
}


@pytest.mark.parametrize("one_of", [2, pytest.param(1, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("name", PARSERS)
def test_each_parser_is_linear(name: str, one_of: int) -> None:
    """What reads another's text takes twice the steps for twice the text, whatever it says."""
    parse, pieces, head, kind = PARSERS[name]
    pumps = [*pieces, *map("".join, zip(pieces[::2], pieces[1::2], strict=False))]
    with Counter([*MODULES, urllib.parse]) as counter:
        for pump, end in list(product(pumps, ("", "\\")))[random.randrange(one_of) :: one_of]:
            texts = (head + pump * size + end for size in (SIZE, 2 * SIZE))
            given = (text.encode("latin-1") if kind is bytes else text for text in texts)
            fewer, more = (counter.steps_of(parse, each) for each in given)
            assert more <= MOST * fewer + OVERHEAD, (pump, end, fewer, more)
