"""Objects that stand for another one: `request.user`, `current_user`, what wrapt wraps."""

from typing import Any

_CURRENT = "_get_current_object"  # werkzeug's LocalProxy
_WITHIN = ("__wrapped__", "_wrapped")  # wrapt and lazy-object-proxy; Django's LazyObject


def may_be_proxy(value: Any) -> bool:
    """Tell whether the class of `value` looks like that of a proxy."""
    return any(hasattr(type(value), name) for name in (_CURRENT, *_WITHIN))


def is_proxy(value: Any) -> bool:
    """Tell whether `value` stands for another object; one that is made late is made now.

    A class, and so its instances, may carry `__wrapped__` too; only a proxy denies its class.
    """
    kind = type(value)
    return hasattr(kind, _CURRENT) or (may_be_proxy(value) and value.__class__ is not kind)


def unwrap(proxy: Any) -> Any:
    """Return the object for which `proxy` stands."""
    if hasattr(type(proxy), _CURRENT):
        return object.__getattribute__(proxy, _CURRENT)()
    name = next(name for name in _WITHIN if hasattr(type(proxy), name))
    return object.__getattribute__(proxy, name)
