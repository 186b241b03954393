"""Counts what a parser does, so that a test can say "linear" without a clock.

Counted are the lines of Python code, the characters that methods of text walk over, and
the steps of a backtracking matcher of regular expressions, which takes the place of the
real one's: that one runs in C and tells nothing. Both must find the same.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import _constants as op
from re import _parser as parser
from types import BuiltinMethodType, FrameType, ModuleType
from typing import Any, TypeAlias, cast

Then: TypeAlias = Callable[[int], bool]
"""What is left to match after a place in the text; whether it does match."""


class Steps:
    """A count that grows; the code under test does not see it."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, text: Any) -> Any:
        """Return `text` as one that counts what its methods walk over."""
        kind = {str: _Text, bytes: _Bytes}.get(type(text))
        if kind is None:
            return text
        made = kind(text)
        made.steps = self
        return made


class Counter:
    """Counts the steps of functions; the modules' regular expressions count while it is entered.

    Args:
        modules: whose regular expressions are counted.
    """

    def __init__(self, modules: list[ModuleType]) -> None:
        self._steps = Steps()
        self._places = [
            (module, name, value)
            for module in modules
            for name, value in vars(module).items()
            if _pattern_in(value) is not None
        ]

    def __enter__(self) -> "Counter":
        for module, name, value in self._places:
            counted: Any = CountedPattern(cast("re.Pattern[Any]", _pattern_in(value)), self._steps)
            if type(value) is BuiltinMethodType:
                counted = getattr(counted, value.__name__)
            setattr(module, name, counted)
        return self

    def __exit__(self, *_error: object) -> None:
        for module, name, value in self._places:
            setattr(module, name, value)

    def steps_of(self, function: Callable[[Any], object], hostile: str | bytes) -> int:
        """Return the steps that `function(hostile)` takes, whether it returns or raises."""
        self._steps.count = 0
        text = self._steps.take(hostile)
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            function(text)
        except Exception:  # refusing hostile input is as good as reading it
            pass
        finally:
            sys.settrace(before)
        return self._steps.count

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename == __file__:
            return None
        self._steps.count += 1
        return self._trace


def patterns_of(modules: list[ModuleType]) -> dict[str, re.Pattern[Any]]:
    """Return the regular expressions that stand in modules, by where they stand."""
    return {
        f"{module.__name__}.{name}": pattern
        for module in modules
        for name, value in vars(module).items()
        if (pattern := _pattern_in(value)) is not None
    }


def _pattern_in(value: object) -> re.Pattern[Any] | None:
    """Return a pattern, or that of a bound method such as `re.compile(...).match`."""
    if type(value) is BuiltinMethodType:  # `isinstance` would wake lazy objects
        value = value.__self__
    return value if type(value) is re.Pattern else None


class CountedPattern:
    """A pattern whose matching is counted, and done by the real one."""

    def __init__(self, pattern: re.Pattern[Any], steps: Steps) -> None:
        self._pattern = pattern
        self._matcher = Matcher(pattern, steps)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._pattern, name)
        if name not in ("match", "fullmatch", "search", "findall", "finditer", "sub", "split"):
            return found

        def method(*args: Any, **kwargs: Any) -> Any:
            text = args[1] if name == "sub" else args[0]
            whole = {"match": False, "fullmatch": True}.get(name)
            start = args[1] if len(args) > 1 and name != "sub" else 0
            self._count(_plain(text), start, whole, once=name == "search")
            return found(*args, **kwargs)

        return method

    def _count(self, text: Any, start: int, whole: bool | None, once: bool) -> None:
        if whole is not None:
            self._matcher.match(text, start, whole)
            return
        at = start
        while at <= len(text):
            end = self._matcher.match(text, at)
            if end is not None and once:
                return
            at = at + 1 if end is None else max(end, at + 1)


class Matcher:
    """Matches as `re` does, by backtracking, and counts each look at a character."""

    def __init__(self, pattern: re.Pattern[Any], steps: Steps) -> None:
        self._pattern = pattern
        self._flags = pattern.flags
        self._tree = list(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
        self._steps = steps
        self._text: Any = ""
        self._groups: dict[int, tuple[int, int]] = {}

    def match(self, text: Any, start: int = 0, whole: bool = False) -> int | None:
        """Return where the match at `start` ends; None without one."""
        self._text = text.decode("latin-1") if isinstance(text, bytes) else text
        self._groups = {}
        ends: list[int] = []

        def accept(at: int) -> bool:
            if whole and at != len(self._text):
                return False
            ends.append(at)
            return True

        with _deep_recursion():
            self._sequence(self._tree, accept)(start)
        found = self._pattern.fullmatch(text, start) if whole else self._pattern.match(text, start)
        expected = None if found is None else found.end()
        ours = ends[0] if ends else None
        assert ours == expected, (self._pattern.pattern, text[:80], ours, expected)
        return ours

    def _sequence(self, nodes: list[Any], then: Then) -> Then:
        for node in reversed(nodes):
            then = self._node(node, then)
        return then

    def _node(self, node: tuple[Any, Any], then: Then) -> Then:
        kind, value = node
        if self._is_single(node):
            return lambda at: self._takes(node, at) and then(at + 1)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            low, high, body = value
            return self._repeat(kind, low, high, list(body), then)
        if kind is op.SUBPATTERN:
            group, _, _, body = value
            return self._group(group, list(body), then)
        if kind is op.BRANCH:
            return _first_of([self._sequence(list(way), then) for way in value[1]])
        if kind is op.ATOMIC_GROUP:
            return self._atomic(list(value), then)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self._look(kind is op.ASSERT, value[0], list(value[1]), then)
        if kind is op.AT:
            return lambda at: self._is_at(value, at) and then(at)
        if kind is op.GROUPREF:
            return lambda at: self._again(value, at, then)
        raise NotImplementedError(kind)

    def _is_single(self, node: tuple[Any, Any]) -> bool:
        return node[0] in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN)

    def _takes(self, node: tuple[Any, Any], at: int) -> bool:
        self._steps.count += 1
        if at >= len(self._text):
            return False
        kind, value = node
        character = ord(self._text[at])
        if kind is op.ANY:
            return bool(self._flags & re.DOTALL) or character != 10
        if kind is op.IN:
            negated = value[0][0] is op.NEGATE
            return negated != any(self._in(each, character) for each in value[negated:])
        return (kind is op.LITERAL) == self._same(character, value)

    def _same(self, one: int, other: int) -> bool:
        return one == other or (
            bool(self._flags & re.IGNORECASE) and chr(one).lower() == chr(other).lower()
        )

    def _in(self, item: tuple[Any, Any], character: int) -> bool:
        kind, value = item
        if kind is op.LITERAL:
            return self._same(character, value)
        if kind is op.RANGE:
            cases = {character, ord(chr(character).lower()[0]), ord(chr(character).upper()[0])}
            cases = cases if self._flags & re.IGNORECASE else {character}
            return any(value[0] <= each <= value[1] for each in cases)
        assert kind is op.CATEGORY, kind
        return re.match(_CATEGORIES[value], chr(character), self._flags & re.ASCII) is not None

    def _repeat(self, kind: Any, low: int, high: int, body: list[Any], then: Then) -> Then:
        if len(body) == 1 and self._is_single(body[0]) and kind is not op.MIN_REPEAT:
            return self._run(kind, low, high, body[0], then)
        if kind is op.POSSESSIVE_REPEAT:
            return self._atomic([(op.MAX_REPEAT, (low, high, body))], then)

        def times(done: int, last: int) -> Then:
            def attempt(at: int) -> bool:
                self._steps.count += 1
                if done > low and at == last:  # an empty round changes nothing
                    return False
                ways = [then] if done >= low else []
                if done < high:
                    again = self._sequence(body, times(done + 1, at))
                    ways.insert(0 if kind is op.MAX_REPEAT else len(ways), again)
                return _first_of(ways)(at)

            return attempt

        return times(0, -1)

    def _run(self, kind: Any, low: int, high: int, node: tuple[Any, Any], then: Then) -> Then:
        def attempt(at: int) -> bool:
            stop = at
            while stop - at < high and self._takes(node, stop):
                stop += 1
            if kind is op.POSSESSIVE_REPEAT:
                return stop - at >= low and then(stop)
            for end in range(stop, at + low - 1, -1):  # noqa: SIM110 - as in `_first_of`
                if then(end):
                    return True
            return False

        return attempt

    def _group(self, group: int | None, body: list[Any], then: Then) -> Then:
        def attempt(at: int) -> bool:
            def close(end: int) -> bool:
                before = self._groups.get(group or 0)
                self._groups[group or 0] = (at, end)
                if then(end):
                    return True
                if before is not None:
                    self._groups[group or 0] = before
                return False

            return self._sequence(body, close)(at)

        return attempt

    def _atomic(self, body: list[Any], then: Then) -> Then:
        def attempt(at: int) -> bool:
            ends: list[int] = []
            self._sequence(body, lambda end: ends.append(end) or True)(at)
            return bool(ends) and then(ends[0])

        return attempt

    def _look(self, wanted: bool, direction: int, body: list[Any], then: Then) -> Then:
        def attempt(at: int) -> bool:
            if direction < 0:
                width = parser.SubPattern(parser.State(), body).getwidth()[0]
                at_body = at - width
            else:
                at_body = at
            found = at_body >= 0 and self._sequence(body, lambda _: True)(at_body)
            return found == wanted and then(at)

        return attempt

    def _is_at(self, where: Any, at: int) -> bool:
        self._steps.count += 1
        if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return at == 0
        if where is op.AT_END_STRING:
            return at == len(self._text)
        if where is op.AT_END:
            return self._text[at:] in ("", "\n")
        raise NotImplementedError(where)

    def _again(self, group: int, at: int, then: Then) -> bool:
        if group not in self._groups:
            return False
        start, end = self._groups[group]
        same = self._text[at : at + end - start] == self._text[start:end]
        self._steps.count += end - start
        return same and then(at + end - start)


def _first_of(ways: list[Then]) -> Then:
    def attempt(at: int) -> bool:
        for way in ways:  # noqa: SIM110 - a call from Python to Python needs no C stack
            if way(at):
                return True
        return False

    return attempt


@contextmanager
def _deep_recursion() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}


def _plain(text: Any) -> Any:
    """Return a counting text as what it is."""
    if isinstance(text, str):
        return str.__str__(text) if type(text) is not str else text
    return bytes(memoryview(text))


class _Counting:
    """Methods of text that add the length of what they walk over."""

    steps: Steps


def _counted(kind: type, name: str) -> Callable[..., Any]:
    real = getattr(kind, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = real(self, *args, **kwargs)
        walked = len(result) if name == "__getitem__" and isinstance(result, kind) else len(self)
        if name in ("__getitem__", "startswith", "endswith") and not isinstance(result, kind):
            walked = 1
        if name == "find" and len(args) > 1:
            walked = (len(self) if result < 0 else result) - args[1]
        self.steps.count += max(1, walked)
        if isinstance(result, list | tuple):
            return type(result)(self.steps.take(each) for each in result)
        return self.steps.take(result)

    return method


_WALKING = {
    "__getitem__", "__contains__", "__add__", "casefold", "count", "decode", "encode", "endswith",
    "find", "index", "isascii", "isdigit", "join", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "title", "translate", "upper",
}  # fmt: skip


def _walking(kind: type) -> dict[str, Callable[..., Any]]:
    return {name: _counted(kind, name) for name in _WALKING if hasattr(kind, name)}


_Text = type("_Text", (str, _Counting), _walking(str))
_Bytes = type("_Bytes", (bytes, _Counting), _walking(bytes))
