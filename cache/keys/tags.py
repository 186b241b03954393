"""Names of tags over the parameters of a function."""

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twofold.errors import SettingsError, UnstableArgument
from twofold.keys.parameters import Parameters
from twofold.spelling import did_you_mean
from twofold.tags.names import tag_names

_FIELD_NAME = re.compile(r"[^.\[]*")
_FORMATTER = string.Formatter()


class Templates:
    """Tags with fields in them, as `str.format` reads them.

    Args:
        name: what they are tags of, in errors.
        templates: such as "user:{user_id}" or "user:{user.id}"; text without a field is a tag
            whatever the values.

    Attributes:
        fields: what is to be filled in.

    Raises:
        SettingsError: one of them is no template.
        InvalidKey: they are no texts.
    """

    def __init__(self, name: str, templates: Iterable[str]) -> None:
        self._templates = tag_names(templates)
        self._name = name
        self.fields: list[str] = [field for each in self._templates for field in self._fields(each)]
        self.fixed: tuple[str, ...] | None = (
            None if self.fields else tuple(map(_unescaped, self._templates))
        )
        """The tags, if there are no fields."""
        self._fills = [each.format_map for each in self._templates]

    def __repr__(self) -> str:
        return f"<Templates {list(self._templates)} of {self._name}>"

    def filled(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the tags by the values of what the fields name.

        Raises:
            AttributeError, LookupError, ValueError: a template cannot be made of them.
        """
        return tag_names([fill(values) for fill in self._fills])

    def missing(self, values: Mapping[str, Any]) -> str | None:
        """Return what a field names and is none of `values`, if there is such."""
        return next((name for name in map(_named, self.fields) if name not in values), None)

    def untold(self, error: Exception) -> UnstableArgument:
        """Return the error for values that do not have what a field asks for."""
        return UnstableArgument(
            f"{self._name}: its tags have the field {{{'}, {'.join(self.fields)}}}, and there is"
            f" none in this call: {type(error).__name__}: {error}"
        )

    def check(self, names: Sequence[str]) -> None:
        """Refuse a field that begins with none of `names`.

        Raises:
            SettingsError: there is one.
        """
        for field in self.fields:
            name = _named(field)
            if name not in names:
                raise SettingsError(
                    f"{self._name}: the field {{{field}}} of a tag names {name!r}, but the"
                    f" parameters are {', '.join(names) or 'none'}{did_you_mean(name, names)}"
                )

    def _fields(self, template: str) -> list[str]:
        try:
            return [field for _, field, _, _ in _FORMATTER.parse(template) if field is not None]
        except ValueError as error:
            raise SettingsError(
                f"{self._name}: the tag {template!r} is no template: {error}"
            ) from None


class TagTemplates:
    """Makes the tags of the calls of one function.

    Args:
        function: what is called.
        name: what it is called in errors.
        templates: over its parameters; see `Templates`.

    Raises:
        SettingsError: one of them is no template, or names no parameter.
        InvalidKey: they are no texts.
    """

    def __init__(self, function: Callable[..., Any], name: str, templates: Iterable[str]) -> None:
        self._templates = Templates(name, templates)
        self._parameters = Parameters(function, name)
        self._templates.check(self._parameters.names)

    def __repr__(self) -> str:
        return f"<TagTemplates {self._templates!r}>"

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the tags of a call.

        Raises:
            TypeError: the function cannot be called so.
            UnstableArgument: an argument has no such field.
            ValueError: a template cannot be made of the arguments.
        """
        fixed = self._templates.fixed
        if fixed is not None:
            return fixed
        values = self._parameters.bind(args, kwargs)
        try:
            return self._templates.filled(values)
        except (AttributeError, LookupError) as error:
            raise self._templates.untold(error) from error


def _named(field: str) -> str:
    """Return what a field begins with."""
    named = _FIELD_NAME.match(field)
    return named[0] if named else ""


def _unescaped(template: str) -> str:
    return _FORMATTER.vformat(template, (), {})
