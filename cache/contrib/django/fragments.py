"""Fragments of templates in a cache, under keys that never meet.

A template renders in its own request alone: its context is that of one thread, and what it has not
read yet of the database is read there. So whoever is to refresh a fragment does it at once, and is
given what it rendered, or the stale one if that fails; all others are served the stale one.
"""

from collections.abc import Awaitable, Iterable, Mapping
from hashlib import blake2b
from random import random
from time import monotonic
from typing import Any

from django.core.cache import BaseCache, InvalidCacheBackendError, caches
from django.template import Context, TemplateSyntaxError, VariableDoesNotExist
from django.template.base import FilterExpression
from django.templatetags.cache import CacheNode
from django.utils.safestring import SafeString, mark_safe

from twofold.claims.flights import Late
from twofold.claims.turns import Turns
from twofold.computing.answers import Found
from twofold.computing.call_tags import CallTags
from twofold.contrib.django.shelf import Hold, Shelf
from twofold.contrib.django.visitors import part_of
from twofold.core import Cache
from twofold.display import shown
from twofold.effects import FOREGROUND, Effects, run_sync
from twofold.errors import (
    ComputationTimeout,
    InvalidKey,
    InvalidTimeout,
    ReentrantCall,
    SettingsError,
)
from twofold.freshness.overrides import override, requests
from twofold.freshness.policy import Age, Policy
from twofold.keys.length_prefixed import length_prefixed
from twofold.tags.names import read_tags
from twofold.timeouts import seconds

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

    freshness: Mapping[str, FilterExpression] = {}
    """What the tag says of the fragment beside its timeout."""

    def render(self, context: Context) -> SafeString:
        vary_on = [variable.resolve(context) for variable in self.vary_on]
        key = make_template_fragment_key(self.fragment_name, vary_on)
        timeout = self._timeout(context)
        if (timeout is not None and timeout <= 0) or (requests and override() == "bypass"):
            return self.nodelist.render(context)
        alias = self._alias(context)
        shelf = Shelf(alias, self._cache(alias))
        policy = self._policy(context, shelf.cache, timeout)
        if shelf.cache is None and policy.tags:  # which nobody there could invalidate
            return self.nodelist.render(context)
        if shelf.cache is not None and requests and override() == "refresh":
            full, render = shelf.full(key), _Render(self, context)
            policy = render.condition_of(policy)
            renewed = shelf.cache._override(FOREGROUND, full, None, render, policy)
            return run_sync(_brought(renewed, render))
        began = monotonic()
        there = shelf.look(key, policy)
        if there is not None and there.age is Age.FRESH and _is_text(there.value):
            if shelf.cache is not None:
                shelf.cache._answers.count(there)
            text: str = there.value
            return mark_safe(text)  # noqa: S308 - it was rendered here
        render = _Render(self, context)
        return run_sync(self._find(shelf, key, render.condition_of(policy), render, there, began))

    async def _find(
        self,
        shelf: Shelf,
        key: str,
        policy: Policy,
        render: "_Render",
        there: Found | None,
        asked: float,
    ) -> SafeString:
        """Return the fragment, where a fresh one was not `there` as was `asked` at a time."""
        ahead = [there]

        async def look(_: Effects) -> tuple[Found | None, str]:
            there = ahead.pop() if ahead else shelf.look(key, policy)
            return there if there is not None and _is_text(there.value) else None, shelf.place(key)

        cache, hold, shared = shelf.cache, Hold(shelf), None
        try:
            found = await hold.find(
                FOREGROUND, turns, look, _is_text, "fragment", asked, patience=policy.max_wait
            )
            if found is None:
                began, tags = shelf.clock.time(), await hold.begin_tags(FOREGROUND, policy)
                rendered = render()
                shared = await _store(hold, key, rendered, policy, began, tags)
                return mark_safe(rendered)  # noqa: S308 - it was rendered here
            if cache is None or cache._answers.serves(found, policy):
                text: str = found.value
                return mark_safe(text)  # noqa: S308 - it was rendered here
            return await _brought(cache._bring(FOREGROUND, found, render, policy, 0.0), render)
        except Late:
            raise ComputationTimeout(
                f"the fragment {self.fragment_name!r} takes longer to render than"
                f" max_wait={policy.max_wait:g} s: give a longer max_wait, or keep a stale one"
            ) from None
        finally:
            await hold.release(FOREGROUND, shared)

    def _policy(self, context: Context, cache: Cache | None, timeout: float | None) -> Policy:
        """Return what becomes of the fragment; a third party's cache knows its timeout alone."""
        try:
            options = {name: each.resolve(context) for name, each in self.freshness.items()}
            if isinstance(options.get("tags"), str):  # templates have no lists
                options["tags"] = [options["tags"]]
            if cache is None:
                return Policy(timeout, tags=read_tags(options.get("tags")))
            return cache._policy(timeout, options).without_errors()
        except (InvalidKey, InvalidTimeout, SettingsError) as error:
            raise TemplateSyntaxError(f"the tag 'cache': {error}") from None

    def _timeout(self, context: Context) -> float | None:
        try:
            value = self.expire_time_var.resolve(context)
            return seconds(value)
        except VariableDoesNotExist as error:
            raise TemplateSyntaxError(f"the tag 'cache' has an unknown variable: {error}") from None
        except InvalidTimeout:
            raise TemplateSyntaxError(
                "the tag 'cache' wants a number of seconds, text like '10m', or None;"
                f" not {shown(value)}"
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


class _Render:
    """Renders the block of one tag for one request, and keeps what it rendered."""

    def __init__(self, node: FragmentNode, context: Context) -> None:
        self.__qualname__ = f"fragment {node.fragment_name!r}"  # as failures are told of
        self._node = node
        self._context = context
        self.own: SafeString | None = None
        self._is_for_one = False

    def __call__(self) -> str:
        context = self._context
        self.own, self._is_for_one = part_of(context, lambda: self._node.nodelist.render(context))
        return str.__str__(self.own)

    def condition_of(self, policy: Policy) -> Policy:
        """Return the policy by which only what is for others, too, is kept."""
        return policy._replace(condition=lambda _: not self._is_for_one)


async def _brought(answer: Awaitable[str], render: _Render) -> SafeString:
    """Return what this request rendered, or what it is given."""
    try:
        text = await answer
    except ReentrantCall:  # it is within itself
        render()
        text = ""
    return mark_safe(text) if render.own is None else render.own  # noqa: S308


def _is_text(value: Any) -> bool:
    """Tell whether a value may be a fragment, and not what another program has put there."""
    return isinstance(value, str)


async def _store(
    hold: Hold, key: str, text: str, policy: Policy, began: float, tags: CallTags | None
) -> bool | None:
    """Store a fragment, and tell whether others will find it, or may store it.

    None says that one of its tags was invalidated meanwhile: the next one renders for all.
    """
    shelf = hold.shelf
    if not policy.keeps(text):
        return False
    if shelf.cache is None:
        shelf.put(key, text, policy.ttl)
        return True
    place = shelf.place(key)
    pins = () if tags is None else (await tags.end(FOREGROUND, {place: text}))[place]
    if pins is None:
        return False if tags is not None and tags.failed else None
    life = policy.life(text, random())  # noqa: S311 - it spreads load
    meta = policy.described(life, began, shelf.clock.time(), pins)
    if life is not None:
        life += policy.stale
    if not hold.beside and not await hold.fill(FOREGROUND, text, life, meta):
        return False
    # As `PageStore.keep`: whoever finds it looks at its tags, and those who wait are to be told.
    if not hold.followed:
        return True
    return True if await shelf.cache._maker.holds(FOREGROUND, pins) else None
