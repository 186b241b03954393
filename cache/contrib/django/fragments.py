"""Fragments of templates in a cache, under keys that never meet."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, cast

from django.core.cache import BaseCache, InvalidCacheBackendError, caches
from django.template import Context, TemplateSyntaxError
from django.templatetags.cache import CacheNode
from django.utils.safestring import SafeString

from twofold.contrib.http.encoding import encode


def make_template_fragment_key(fragment_name: str, vary_on: Iterable[Any] | None = None) -> str:
    """Return the key of a fragment; unlike Django 5.2's, ["a:b", "c"] is not ["a", "b:c"].

    Args:
        fragment_name: the name in the tag.
        vary_on: the values behind it in the tag, compared as text.
    """
    told = encode([str(each).encode() for each in vary_on or ()])
    return f"template.cache.{fragment_name}.{blake2b(told, digest_size=16).hexdigest()}"


class FragmentNode(CacheNode):
    """The tag `cache`: of those who miss a fragment together, one renders it."""

    def render(self, context: Context) -> SafeString:
        vary_on = [variable.resolve(context) for variable in self.vary_on]
        key = make_template_fragment_key(self.fragment_name, vary_on)
        cache, timeout = self._cache(context), self._timeout(context)
        found = cache.get_or_set(key, lambda: self.nodelist.render(context), timeout)
        return cast("SafeString", found)

    def _timeout(self, context: Context) -> int | None:
        value = self.expire_time_var.resolve(context)
        try:
            return None if value is None else int(value)
        except (ValueError, TypeError):
            raise TemplateSyntaxError(
                f"the tag 'cache' wants a number of seconds, or None; not {value!r}"
            ) from None

    def _cache(self, context: Context) -> BaseCache:
        if not self.cache_name:
            name = "template_fragments"
            return caches[name] if name in caches.settings else caches["default"]
        name = self.cache_name.resolve(context)
        try:
            return caches[name]
        except InvalidCacheBackendError as error:
            raise TemplateSyntaxError(f"the tag 'cache' names no cache: {error}") from error
