"""The tags of pages: what a view says of all of its own; and those of one that is being made."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from twofold.computing.call_tags import CallTags
from twofold.core import Cache
from twofold.effects import Effects
from twofold.errors import SettingsError
from twofold.freshness.policy import Policy, plain
from twofold.keys.parameters import Parameters
from twofold.keys.tags import Templates
from twofold.metadata import Pins
from twofold.spelling import did_you_mean
from twofold.tags.generations import NOTHING
from twofold.tags.names import read_tags, tag_names

Given: TypeAlias = tuple[str, ...] | Callable[[], Iterable[str]]
"""The tags of one page, or what tells them once the page is there."""

_PAGE: Final = "page"
_UNKNOWN_LIFE: Final = 3600.0  # seconds, where only the page says how long it is fresh


class ViewTags:
    """What the pages of one view can be invalidated by.

    Args:
        view: gets the values of the path.
        name: what it is called in errors.
        tags: names, which may have fields that name parameters of the view or values of the path;
            or a function of a page, see `function`.
        closed: whether the path has no values but those that the view has parameters for.

    Raises:
        SettingsError: one of the names is no template, or a field can name nothing; or the
            function is async.
        InvalidKey: they are no texts.
    """

    def __init__(self, view: Callable[..., Any], name: str, tags: Any, *, closed: bool) -> None:
        told = read_tags(tags)
        self.function: Callable[..., Iterable[str]] | None = told if callable(told) else None
        self._name = name
        self._templates = Templates(name, () if callable(told) else told)
        self._parameters = Parameters(view, name) if self._templates.fields else None
        if closed and self._parameters is not None and not self._parameters.takes("any"):
            self._templates.check(self._parameters.names)

    def __repr__(self) -> str:
        return f"<ViewTags {self.function or self._templates}>"

    def names(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], path: Mapping[str, Any] = NOTHING
    ) -> tuple[str, ...]:
        """Return the tags of a page that is made by a call of the view, as templates tell them.

        Raises:
            SettingsError: a field names nothing that is there.
            UnstableArgument: a value has no such field.
            ValueError: a template cannot be made of the values.
        """
        templates, parameters = self._templates, self._parameters
        if parameters is None:
            return templates.fixed or ()
        placed = zip(parameters.places(len(args)), args, strict=False)
        values = {**parameters.defaults, **path, **{n: v for n, v in placed if n}, **kwargs}
        try:
            return templates.filled(values)
        except (AttributeError, LookupError) as error:
            name = templates.missing(values)
            if name is None:
                raise templates.untold(error) from error
            raise SettingsError(
                f"{self._name}: a field of a tag names {name!r}, and the page has"
                f" {', '.join(values) or 'no values'}{did_you_mean(name, list(values))}"
            ) from None


class PageTags:
    """The tags of the page that one request makes.

    Args:
        given: what is known of them.
    """

    def __init__(self, given: Given = ()) -> None:
        self._given = given
        self.known: tuple[str, ...] = () if callable(given) else given
        """Those that are known before it is made."""
        self._call: CallTags | None = None
        self._life: float | None = None

    def __repr__(self) -> str:
        return f"<PageTags {self._given!r}>"

    async def begin(self, io: Effects, cache: Cache, timeout: float | None = 0.0) -> None:
        """Pin them before the page is made: invalidations from now on count.

        They are to live for `timeout`, None for ever; 0 if only the page will tell.

        Raises:
            BackendUnavailable: the store cannot be asked.
        """
        if self._given:
            self._life = _UNKNOWN_LIFE if timeout is not None and timeout <= 0 else timeout
            policy = Policy(self._life, tags=tuple if callable(self._given) else self.known)
            self._call = await cache._maker.begin_tags(io, policy, {_PAGE: policy.tags})

    def tell(self) -> tuple[str, ...]:
        """Return them, now that the page is there."""
        return tag_names(self._given()) if callable(self._given) else self.known

    async def end(self, io: Effects, names: tuple[str, ...], life: float | None) -> Pins | None:
        """Return the tags of a page that is kept for `life`; None if it may not be kept.

        Raises:
            BackendUnavailable: the store cannot be asked.
        """
        if not self._given:
            return ()
        call = self._call
        if call is None:
            return None
        pins = (await call.end(io, {_PAGE: names}))[_PAGE]
        if pins and self._life is not None and (life is None or life > self._life):
            await call.extend(io, life)
        return None if call.failed else pins


async def read_tagged(io: Effects, cache: Cache, key: str, names: tuple[str, ...]) -> Any:
    """Return what `get` does, in one round trip if the value has no other tags than `names`."""
    if not names:
        return await io.op(cache.get, cache.aget, key)
    if cache._guard is not None and not io.by_loop:
        cache._guard("get")
    full, policy = cache._key(key, None), plain(None).tagged(names)
    found = await io.op(cache._find_in, cache._afind_in, cache._reads, full, policy)
    return found.value if cache._answers.serves(found, policy) else None
