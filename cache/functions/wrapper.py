"""What stands in for a function: its name, signature, binding and pickling."""

from collections.abc import Callable
from functools import _lru_cache_wrapper, update_wrapper
from inspect import Signature, signature
from typing import Any, Self, SupportsIndex, cast

from twofold.functions.plan import Plan

_NAMES_OF_PARTS = 4  # the first protocol of pickle with names that have dots, as a surrogate's has


class _SignatureOfFunction:
    """The `__signature__` of a decorated function, which the class itself has not."""

    def __get__(self, decorated: Any, owner: type[Any]) -> Signature:
        if decorated is None:
            raise AttributeError("__signature__")
        full = signature(decorated._plan.function)
        return full.replace(parameters=list(full.parameters.values())[len(decorated._bound) :])


class FunctionWrapper:
    """What decorated functions have in common with plain ones, except for being called."""

    __slots__ = ("__dict__", "__weakref__", "_bound", "_plan")

    _plan_type: type[Plan] = Plan

    __signature__: _SignatureOfFunction = _SignatureOfFunction()

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The class of what `functools.lru_cache` returns, which is no field of a class.

        pydantic and its like know methods by their class. (To claim the class of plain
        functions would have cloudpickle take this object apart.)
        """
        return _lru_cache_wrapper

    def __new__(cls, plan: Any, *instance: object) -> Any:
        """Return a new function; of a function and an instance, as of methods, the bound one.

        `weakref.WeakMethod`, and so Django's signals, makes a method again like that.
        """
        return plan._bind(*instance) if instance else object.__new__(cls)

    def __init__(self, plan: Any, *instance: object) -> None:
        if not instance:
            self._begin(plan)

    def _begin(self, plan: Plan) -> None:
        self._resemble(plan)
        self._plan: Plan = plan
        self._bound: tuple[Any, ...] = ()
        plan.decorated = self

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Tell IPython, which goes by the class, what to show at the end of a cell."""
        return {"text/plain": repr(self)}

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *vars(self)})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FunctionWrapper):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[int, ...]:
        return id(self._plan), *map(id, self._bound)

    @property
    def __self__(self) -> Any:
        if not self._bound:
            raise AttributeError(f"{self._plan.name}() is bound to no object")
        return self._bound[0]

    @property
    def __func__(self) -> Any:
        if not self._bound:
            raise AttributeError(f"{self._plan.name}() is bound to no object")
        return self._plan.decorated

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        if self._bound:
            return getattr, (self._bound[0], self._plan.name.rpartition(".")[2])
        if protocol.__index__() < _NAMES_OF_PARTS:
            return self._plan.name
        return _of_surrogate, (type(self), self._surrogate)

    @property
    def _surrogate(self) -> Callable[[], None]:
        """Return a function that is pickled for this one, see `_new_surrogate`."""
        if self._plan.surrogate is None:
            self._plan.surrogate = _new_surrogate(self._plan)
        surrogate: Callable[[], None] = self._plan.surrogate
        return surrogate

    def _resemble(self, plan: Plan) -> None:
        """Take over the name, docstring and attributes of the function, but keep our own."""
        theirs = getattr(plan.function, "__dict__", {})
        reserved = dir(type(self))
        vars(self).update({name: theirs[name] for name in theirs.keys() - reserved})
        vars(self).update(__name__=plan.name.rpartition(".")[2], __qualname__=plan.name)
        update_wrapper(cast(Any, self), plan.function, updated=())

    def _bind(self, first: object) -> Self:
        bound = object.__new__(type(self))
        vars(bound).update(vars(self))
        bound._plan, bound._bound = self._plan, (first,)
        return bound


def _new_surrogate(plan: Plan) -> Callable[[], None]:
    """Return a function that is pickled in place of the decorated one.

    pickle stores the name by which it is found. So does cloudpickle, but what another process
    cannot import it stores whole: then the surrogate carries all that the decorated function is
    made of.
    """

    def surrogate() -> None:
        """Stand for a decorated function in a pickle."""

    surrogate.__module__ = str(getattr(plan.function, "__module__", None))
    surrogate.__name__, surrogate.__qualname__ = "_surrogate", f"{plan.name}._surrogate"
    vars(surrogate).update(function=plan.function, options=plan.options, made=plan.decorated)
    return surrogate


def _of_surrogate(cls: type[FunctionWrapper], surrogate: Any) -> Any:
    """Return the decorated function of `surrogate`, made when it is first asked for.

    A function that calls itself holds itself, and is asked for before its surrogate is complete.
    """
    there = vars(surrogate)
    made = there.setdefault("made", None) or object.__new__(cls)
    there["made"] = made
    if "options" in there and not hasattr(made, "_plan"):
        plan = cls._plan_type(there["function"], **there["options"])
        plan.surrogate = surrogate
        made._begin(plan)
    return made
