"""What type checkers tell methods, class methods and static methods apart by: a first parameter.

mypy looks at none in a `Concatenate`, and would take static methods for methods; those of a
protocol it compares.
"""

from typing import ParamSpec, Protocol, TypeVar

S_contra = TypeVar("S_contra", contravariant=True)
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)


class OfClass(Protocol[S_contra, Q, R_co]):
    """Is called with a class first."""

    def __call__(self, cls: type[S_contra], /, *args: Q.args, **kwargs: Q.kwargs) -> R_co: ...


class OfInstance(Protocol[S_contra, Q, R_co]):
    """Is called with an instance first."""

    def __call__(self, instance: S_contra, /, *args: Q.args, **kwargs: Q.kwargs) -> R_co: ...
