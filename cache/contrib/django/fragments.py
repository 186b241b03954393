"""Fragments of templates in a cache, under keys that never meet."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from django.core.cache import BaseCache, InvalidCacheBackendError, caches
from django.template import Context, TemplateSyntaxError, VariableDoesNotExist
from django.templatetags.cache import CacheNode
from django.utils.safestring import SafeString, mark_safe

from twofold.claims.turns import Turns
from twofold.contrib.django.shelf import Hold, Shelf
from twofold.effects import BLOCKING, Effects, run_sync
from twofold.keys.length_prefixed import length_prefixed

turns: Turns = Turns()
"""The callers that render a fragment while others wait for it."""


def make_template_fragment_key(fragment_name: str, vary_on: Iterable[Any] | None = None) -> str:
    """Return the key of a fragment; unlike Django 5.2's, ["a:b", "c"] is not ["a", "b:c"].

    Args:
        fragment_name: the name in the tag.
        vary_on: the values behind it in the tag, compared as text.
    """
    told = length_prefixed([str(each).encode() for each in vary_on or ()])
    return f"template.cache.{fragment_name}.{blake2b(told, digest_size=20).hexdigest()}"


class FragmentNode(CacheNode):
    """The tag `cache`: of those who miss a fragment together, one renders it.

    Each renders in a context of its own: an error, and what is not to be stored, is for
    nobody else.
    """

    def render(self, context: Context) -> SafeString:
        vary_on = [variable.resolve(context) for variable in self.vary_on]
        key = make_template_fragment_key(self.fragment_name, vary_on)
        timeout = self._timeout(context)
        if timeout is not None and timeout <= 0:
            return self.nodelist.render(context)
        return run_sync(self._find(key, timeout, context))

    async def _find(self, key: str, timeout: int | None, context: Context) -> SafeString:
        """Return the fragment; text is stored, which any serializer holds."""
        alias = self._alias(context)
        cache = self._cache(alias)
        shelf = Shelf(alias, cache)

        async def look(_: Effects) -> tuple[str | None, str]:
            there = cache.get(key)
            return there if _is_text(there) else None, shelf.place(key)

        hold, shared = Hold(shelf), None
        try:
            found = await hold.find(BLOCKING, turns, look, _is_text, "fragment")
            if found is not None:
                return mark_safe(found)  # noqa: S308 - it was rendered here
            rendered = self.nodelist.render(context)
            shared = await _store(hold, cache, key, str.__str__(rendered), timeout)
            return rendered
        finally:
            await hold.release(BLOCKING, shared)

    def _timeout(self, context: Context) -> int | None:
        try:
            value = self.expire_time_var.resolve(context)
            return None if value is None else int(value)
        except VariableDoesNotExist as error:
            raise TemplateSyntaxError(f"the tag 'cache' has an unknown variable: {error}") from None
        except (ValueError, TypeError):
            raise TemplateSyntaxError(
                f"the tag 'cache' wants a number of seconds, or None; not {value!r}"
            ) from None

    def _alias(self, context: Context) -> str:
        if self.cache_name:
            return str(self.cache_name.resolve(context))
        return "template_fragments" if "template_fragments" in caches.settings else "default"

    def _cache(self, alias: str) -> BaseCache:
        try:
            return caches[alias]
        except InvalidCacheBackendError as error:
            raise TemplateSyntaxError(f"the tag 'cache' names no cache: {error}") from error


def _is_text(value: Any) -> bool:
    """Tell whether a value may be a fragment, and not what another program has put there."""
    return isinstance(value, str)


async def _store(hold: Hold, cache: BaseCache, key: str, text: str, timeout: int | None) -> bool:
    """Store a fragment, and tell whether others will find it, or may store it."""
    if hold.shelf.cache is None:
        cache.set(key, text, timeout)
        return True
    return hold.beside or await hold.fill(BLOCKING, text, timeout)
