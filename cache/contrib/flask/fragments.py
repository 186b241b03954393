"""`{% cache %}`: a part of a template that is rendered once.

{% cache "sidebar", "10m", region, user.id %} ... {% endcache %}

The name, then for how long, then whatever else the fragment depends on; then, by name, what is
served after that, `stale="1h"`, and what it can be invalidated by, `tags=["user:7"]`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flask import has_request_context
from flask.globals import request_ctx
from jinja2 import Environment, Undefined, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from werkzeug.local import LocalProxy

from twofold.core import Cache
from twofold.display import shown
from twofold.effects import FOREGROUND
from twofold.errors import BlockingCallInEventLoop, CacheError, SettingsError, UnstableArgument
from twofold.events import CacheBypassed, emit
from twofold.freshness.options import OF_FRAGMENTS
from twofold.keys.encoding import Unencodable, encode
from twofold.settings import placed
from twofold.spelling import unknown
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout


def fragment_key(name: str, vary: tuple[Any, ...], escaped: bool) -> str:
    """Return the key of a fragment; no two names and lists of values have the same.

    Raises:
        UnstableArgument: it cannot be told from others by one of the values.
    """
    if not isinstance(name, str):
        raise UnstableArgument(
            f'the name of a cached fragment is text, not {name!r}: {{% cache "name", "10m" %}}'
        )
    values = [_encode(name, number, value) for number, value in enumerate(vary, 1)]
    return f"fragment:{encode(name)}({','.join(values)}){'' if escaped else 'unescaped'}"


def _encode(name: str, number: int, value: Any) -> str:
    if isinstance(value, Undefined):
        raise UnstableArgument(
            f"the fragment {name!r} depends on what is not there, value {number} of its list:"
            f" {value._undefined_message}"
        )
    try:
        return encode(value._get_current_object() if type(value) is LocalProxy else value)
    except Unencodable as error:
        raise UnstableArgument(
            f"value {number} of the list of the fragment {name!r} is of type"
            f" {type(value).__name__}, and {error}: name what identifies it, such as its id"
        ) from None


class Fragments:
    """Renders fragments, or takes them out of a cache.

    Args:
        cache: returns the cache.
    """

    def __init__(self, cache: Callable[[], Cache]) -> None:
        self._cache = cache
        self._told = False

    def __repr__(self) -> str:
        return f"<Fragments in {self._cache()!r}>"

    def render(
        self,
        name: str,
        key: str,
        timeout: Timeout,
        options: Mapping[str, Any],
        body: Callable[[], str],
    ) -> str:
        """Return the fragment under `key`; what `body` returns if it is not there.

        A template renders in its own request alone. So whoever is to refresh the fragment does it
        at once, and is given what it rendered, or the stale one if that fails.
        """
        cache, rendering, rendered, wrote = self._cache(), False, list[str](), False

        def render() -> str:
            nonlocal rendering, wrote
            rendering = True
            text, wrote = _told_of_session(body)
            rendered.append(text)
            return text

        render.__qualname__ = f"fragment {name!r}"
        try:
            _check_tags(options.get("tags", ()))
            policy = cache._policy(timeout, options).without_errors()
        except CacheError:
            with placed(f"{{% cache {name!r} %}}"):  # not around each hit, of which it is a part
                raise
        try:
            if cache._guard is not None:
                cache._guard("get_or_set")
            found = str(cache._answer(key, None, render, policy, FOREGROUND, lambda _: not wrote))
            return rendered[-1] if rendered else found
        except BlockingCallInEventLoop as exc:
            if rendering:  # something in the template
                raise
            self._tell(exc)
            return render()

    def _tell(self, exc: BlockingCallInEventLoop) -> None:
        if not self._told:
            self._told = True
            what = "fragments of async views are rendered"
            emit(CacheBypassed(self._cache().alias, what, str(exc)))


def _told_of_session(body: Callable[[], str]) -> tuple[str, bool]:
    """Return what `body` returns, and whether it wrote to the session.

    Then it is of one visitor: it took flashed messages from there, or made a token against CSRF.
    """
    session = request_ctx._session if has_request_context() else None
    if session is None:
        return str(body()), False
    before, session.modified = session.modified, False
    try:
        return str(body()), session.modified
    finally:
        session.modified = session.modified or before


def _check_tags(tags: Any) -> None:
    if callable(tags):  # as what is undefined is, which would be no tags
        raise SettingsError(f"the tags of a fragment are a list of texts, not {shown(tags)}")


class FragmentTag(Extension):
    """Adds `{% cache name, timeout, *vary, **freshness %}...{% endcache %}` to Jinja."""

    tags: set[str] = {"cache"}  # noqa: RUF012 - the contract of Jinja

    fragments: Fragments

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if environment.is_async:
            raise SettingsError(
                "{% cache %} renders in sync templates only: make the environment without"
                " enable_async"
            )

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the call that renders the block."""
        line = next(parser.stream).lineno
        arguments: list[nodes.Expr] = [nodes.ContextReference(), parser.parse_expression()]
        options: dict[str, nodes.Keyword] = {}
        while parser.stream.skip_if("comma"):
            if parser.stream.current.type == "name" and parser.stream.look().type == "assign":
                option = _option(parser)
                if option.key in options or (option.key == "timeout" and len(arguments) > 2):
                    parser.fail(f"{option.key} is given twice", line)
                options[option.key] = option
            elif options:
                parser.fail("what the fragment depends on comes before its options", line)
            else:
                arguments.append(parser.parse_expression())
        body = parser.parse_statements(("name:endcache",), drop_needle=True)
        call = self.call_method("_render", arguments, list(options.values()))
        return nodes.CallBlock(call, [], [], body, lineno=line)

    def _render(
        self,
        context: Context,
        name: str,
        timeout: Timeout = DEFAULT_TIMEOUT,
        *vary: Any,
        caller: Callable[[], str],
        **options: Any,
    ) -> str:
        key = fragment_key(name, vary, bool(context.eval_ctx.autoescape))
        return self.fragments.render(name, key, timeout, options, caller)


def _option(parser: Parser) -> nodes.Keyword:
    """Return one option of the tag, such as `stale="1h"`."""
    name = next(parser.stream)
    if name.value not in _OPTIONS:
        parser.fail(unknown("option of the tag 'cache'", name.value, _OPTIONS), name.lineno)
    next(parser.stream)
    return nodes.Keyword(name.value, parser.parse_expression(), lineno=name.lineno)


_OPTIONS = ("timeout", *OF_FRAGMENTS)
