"""What is asked for with a call, as a policy; those that are asked for often are remembered."""

from collections.abc import Mapping
from datetime import timedelta
from types import NoneType
from typing import Any, Final

from twofold.freshness.options import read_freshness, read_ttl
from twofold.freshness.policy import Policy
from twofold.tags.names import read_tags
from twofold.timeouts import DEFAULT_TIMEOUT, Condition

_MOST: Final = 256  # that are remembered, by how they are asked for
_TYPES: Final = frozenset({float, int, NoneType, str, timedelta, type(DEFAULT_TIMEOUT)})
"""What may be said by: True or Decimal(1) would be found as 1, and are to be refused."""

_FEW: Final = 4  # tags: with more of them, or other options, a policy is made at each call


class Policies:
    """The policies of one cache.

    Args:
        default: the alias's rules, which hold unless a call says otherwise.
    """

    def __init__(self, default: Policy) -> None:
        self._default = default
        self._known: dict[tuple[Any, ...], Policy] = {}
        self._tagged: dict[tuple[Any, ...], Policy] = {}

    def of(
        self, timeout: Any, options: Mapping[str, Any], condition: Condition | None = None
    ) -> Policy:
        """Return what becomes of a computed value: the alias's rules, and the caller's."""
        if "tags" in options:
            return self._with_tags(timeout, options, condition)
        told = (timeout, *options.values())
        is_plain = condition is None and _TYPES.issuperset(map(type, told))
        try:
            known = self._known.get((timeout, *options.items())) if is_plain else None
        except TypeError:  # a dict of errors
            known = None
        return known or self._new(timeout, options, condition)

    def _with_tags(
        self, timeout: Any, options: Mapping[str, Any], condition: Condition | None
    ) -> Policy:
        tags, asked = options["tags"], None
        is_short = type(tags) is list and len(options) == 1 and len(tags) <= _FEW
        if is_short and type(timeout) in _TYPES:
            asked = (timeout, *tags)
            try:
                known = self._tagged.get(asked)
            except TypeError:  # which is told of below
                known = None
            if known is not None and condition is None:
                return known
        others = {name: value for name, value in options.items() if name != "tags"}
        policy = self.of(timeout, others, condition).tagged(read_tags(tags))
        if asked is not None and not (condition or callable(timeout)):
            if len(self._tagged) >= _MOST:
                self._tagged.clear()
            self._tagged[asked] = policy
        return policy

    def _new(self, timeout: Any, options: Mapping[str, Any], condition: Condition | None) -> Policy:
        default = self._default
        ttl = default.ttl if timeout is DEFAULT_TIMEOUT else read_ttl(timeout)
        policy = default._replace(ttl=ttl, condition=condition, **read_freshness(options))
        has_errors = policy.errors or options.get("errors") is not None  # in a dict, if of none
        if not (condition or callable(timeout) or has_errors):
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[(timeout, *options.items())] = policy
        return policy
