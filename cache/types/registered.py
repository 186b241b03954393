"""Types that are stored with their name, wherever a value of them stands."""

from collections.abc import Callable
from typing import TypeVar, overload

from twofold.codecs import named
from twofold.codecs.named import Named
from twofold.errors import SettingsError
from twofold.types.outline import Outline
from twofold.types.shapes import Shape

K = TypeVar("K", bound=type)


@overload
def register_type(kind: K, /, *, name: str = "") -> K: ...


@overload
def register_type(*, name: str) -> Callable[[K], K]: ...


def register_type(kind: type | None = None, /, *, name: str = "") -> object:
    """Have values of a class stored with its name, wherever they stand: `register_type(User)`.

    It may decorate the class. Its subclasses are other types. A process reads such values if it
    has registered the class under the same name.

    Args:
        kind: a dataclass, an enum, or another class that annotations may name.
        name: what it is called in stores; its module and name unless given.

    Raises:
        SettingsError: no values of it can be converted, or the name is another class's.
    """
    if kind is None:
        return lambda each: register_type(each, name=name)
    if not isinstance(kind, type):
        raise SettingsError(f"register_type() takes a class, not {kind!r}")
    full = f"{kind.__module__}.{kind.__qualname__}"
    try:
        outline = Outline(kind)
    except NameError:  # of a field's type that comes later
        outline = None
    except Exception as exc:  # whatever stands in annotations
        raise SettingsError(f"{full} cannot be registered: {exc}") from exc
    if outline is not None and outline.is_plain:
        raise SettingsError(f"{full} is stored as it is: there is nothing to register")
    if outline is not None and outline.says_nothing:
        raise SettingsError(
            f"{full} cannot be registered: it has no fields, as a dataclass or a model has, and is"
            " no enum"
        )
    named.register(Named(name or full, kind, _Late(kind).form))
    return kind


class _Late:
    """The shape of a class, found out when it is needed: its fields may name later ones."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._shape: Shape | None = None

    def form(self, rich: bool) -> named.Form:
        if self._shape is None:
            self._shape = Shape(self._kind)
        return self._shape.fitted(rich=rich)
