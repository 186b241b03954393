"""What is known of a callable before it is called."""

from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of what is called; objects and partial functions go by their class."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calls return an awaitable."""
    return iscoroutinefunction(function) or iscoroutinefunction(body_of(function))


def source_of(function: Callable[..., Any]) -> object:
    """Return what all callables that were made of the same lines have in common."""
    body = body_of(getattr(function, "__wrapped__", function))
    return getattr(body, "__code__", body)


def body_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a call runs: of a partial one, or of an object's class."""
    while isinstance(function, partial):
        function = function.func
    return function if hasattr(function, "__code__") else type(function).__call__
