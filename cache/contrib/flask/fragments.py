"""`{% cache %}`: a part of a template that is rendered once.

{% cache "sidebar", "10m", region, user.id %} ... {% endcache %}

The name, then for how long, then whatever else the fragment depends on.
"""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from werkzeug.local import LocalProxy

from twofold.core import Cache
from twofold.errors import BlockingCallInEventLoop, SettingsError, UnstableArgument
from twofold.events import CacheBypassed, emit
from twofold.keys.encoding import Unencodable, encode
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout


def fragment_key(name: str, vary: tuple[Any, ...], escaped: bool) -> str:
    """Return the key of a fragment; no two names and lists of values have the same.

    Raises:
        UnstableArgument: it cannot be told from others by one of the values.
    """
    if not isinstance(name, str):
        raise UnstableArgument(f"the name of a cached fragment is text, not {name!r}")
    values = [_encode(name, number, value) for number, value in enumerate(vary, 1)]
    return f"fragment:{encode(name)}({','.join(values)}){'' if escaped else 'unescaped'}"


def _encode(name: str, number: int, value: Any) -> str:
    try:
        return encode(value._get_current_object() if type(value) is LocalProxy else value)
    except Unencodable as error:
        raise UnstableArgument(
            f"the fragment {name!r} varies with a {type(value).__name__} (value {number} of its"
            f" list), and {error}: name what identifies it, such as its id"
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

    def render(self, key: str, timeout: Timeout, body: Callable[[], str]) -> str:
        """Return the fragment under `key`; what `body` returns if it is not there."""
        rendering = False

        def render() -> str:
            nonlocal rendering
            rendering = True
            return str(body())

        try:
            return str(self._cache().get_or_set(key, render, timeout))
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


class FragmentTag(Extension):
    """Adds `{% cache name, timeout, *vary %}...{% endcache %}` to Jinja."""

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
        arguments = [nodes.ContextReference(), parser.parse_expression()]
        while parser.stream.skip_if("comma"):
            arguments.append(parser.parse_expression())
        body = parser.parse_statements(("name:endcache",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_render", arguments), [], [], body, lineno=line)

    def _render(
        self,
        context: Context,
        name: str,
        timeout: Timeout = DEFAULT_TIMEOUT,
        *vary: Any,
        caller: Callable[[], str],
    ) -> str:
        key = fragment_key(name, vary, bool(context.eval_ctx.autoescape))
        return self.fragments.render(key, timeout, caller)
