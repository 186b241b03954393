"""Arguments of a call as they are now, whatever their owner does to them next."""

from typing import Any, TypeAlias

_NESTING = 64  # levels; what lies deeper passes as it is
_HOLDERS = frozenset({list, dict, set, bytearray, tuple})

_Made: TypeAlias = dict[int, tuple[object, Any]]
"""The copies by the ids of what they are copies of, which is kept alive with its own."""


def holds_none(*groups: Any) -> bool:
    """Tell whether none of the values in `groups` is of a type that `snapshot` copies."""
    return all(_HOLDERS.isdisjoint(map(type, group)) for group in groups)


def snapshot(value: Any, made: _Made, depth: int = 0) -> Any:
    """Return `value` with copies of the lists, dicts, sets and bytearrays that it is made of.

    Anything else, subclasses of these too, is passed on as it is. What `value` holds twice
    its copy holds twice.
    """
    kind = type(value)
    if kind not in _HOLDERS or depth > _NESTING:
        return value
    known = made.get(id(value))
    if known is not None:
        return known[1]
    if kind is tuple:
        copy = tuple([snapshot(each, made, depth + 1) for each in value])
        made[id(value)] = value, copy
        return copy
    copy = value.copy()
    made[id(value)] = value, copy  # before its parts, one of which may be itself
    if kind is list or kind is dict:
        for place, each in list(enumerate(copy) if kind is list else copy.items()):
            copy[place] = snapshot(each, made, depth + 1)
    return copy
