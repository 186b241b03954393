"""The lookup of a request's page: under which keys, and who may be given what is there."""

import re
from functools import cached_property
from hashlib import blake2b
from time import monotonic
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import has_vary_header
from django.utils.functional import LazyObject

from twofold.contrib.django.deciding import Middleware, OneAddress, StandIn, Unread, deciding
from twofold.contrib.django.page_store import attempt
from twofold.contrib.django.shelf import Shelf, cache_behind
from twofold.contrib.http.headers import Headers
from twofold.contrib.http.storing import shared_with
from twofold.contrib.http.tags import read_tagged
from twofold.effects import Effects
from twofold.keys.length_prefixed import length_prefixed

_NAME = re.compile(r"HTTP_[!-~]*")
_LANGUAGE = "HTTP_ACCEPT_LANGUAGE"


class Look:
    """A look for the page of a request, whose `tags` are known as far as given.

    Called, it returns the page, or None and what is missing on `shelf`; "" if no page may answer.
    """

    def __init__(
        self, request: HttpRequest, middleware: Middleware, tags: tuple[str, ...] = ()
    ) -> None:
        self.is_known: bool = is_authenticated(request)
        self.began: float = 0.0
        """The monotonic time at which the store was first asked."""
        self._request = request
        self._middleware = middleware
        self._tags = tags
        self._misses_page = False
        self._own = ""

    async def __call__(self, io: Effects) -> tuple[HttpResponse | None, str]:
        request, middleware, stand_in = self._request, self._middleware, StandIn()
        rule, address = deciding(middleware, stand_in), OneAddress(request)
        headers: list[str] = []
        within = getattr(getattr(request, "_twofold_held", None), "within", 0)
        while True:
            try:
                with address:
                    response = rule.process_request(request)
            except Unread as unread:
                self._misses_page = bool(stand_in.known)
                own = within_others(unread.key, within)
                if self._misses_page:
                    own = varied_key(own, headers, request)
                self._own = own
                tags = self._tags if self._misses_page else ()
                found = await attempt(middleware, "read", self._read(io, own, tags), None)
                if not self.is_usable(found):
                    found = None
                if not self._misses_page:
                    headers = request._twofold_varies = found or []  # type: ignore[attr-defined]
                    found = None if found is None else _of_django(headers)
                stand_in.known[unread.key] = found
            else:
                return response, "" if response is not None else self._place(self._own)

    async def _read(self, io: Effects, key: str, tags: tuple[str, ...]) -> Any:
        """Return what is stored, or None; `tags` are those that it probably has."""
        django = self._middleware.cache
        cache = cache_behind(django)  # made at its first use, which is no time of its store's
        self.began = self.began or monotonic()
        if cache is None or not tags:
            return await io.op(django.get, django.aget, key)
        return await read_tagged(io, cache, django.make_and_validate_key(key), tags)

    async def remove(self, io: Effects) -> None:
        """Remove the page that was found."""
        cache = self._middleware.cache
        removing = io.op(cache.delete, cache.adelete, self._own)
        await attempt(self._middleware, "delete", removing, False)

    @cached_property
    def shelf(self) -> Shelf:
        """Where the page is kept."""
        return Shelf(self._middleware.cache_alias, self._middleware.cache)

    def _place(self, key: str) -> str:
        try:
            return key and self.shelf.place(key)
        except Exception:  # reading has logged the invalid key
            return ""

    def is_usable(self, value: Any) -> bool:
        """Tell whether a value is what was asked for last."""
        if not self._misses_page:
            return _is_names(value)
        return isinstance(value, HttpResponse) and is_for(self.is_known, value)


def _is_names(found: Any) -> bool:
    """Tell whether something read lists headers, as Django stores them: anybody may put numbers."""
    return isinstance(found, list) and all(
        isinstance(each, str) and _NAME.fullmatch(each) for each in found
    )


def with_language(headers: list[str], request: HttpRequest, response: HttpResponse) -> list[str]:
    """Return the names on which a response varies, of which Django leaves the language out.

    Instead its keys have the language that is active. Where that was chosen by the request,
    `LocaleMiddleware` has noted it there; else it is a view that reads the field.
    """
    told = _LANGUAGE in headers or hasattr(request, "LANGUAGE_CODE")
    if told or not has_vary_header(response, "Accept-Language"):
        return headers
    return [*headers, _LANGUAGE]


def _of_django(headers: list[str]) -> list[str]:
    """Return the names that Django itself looks at."""
    return [each for each in headers if each != _LANGUAGE] if settings.USE_I18N else headers


def is_for(is_known: bool, response: HttpResponse) -> bool:
    """Tell whether a response may be shared, by whether the user is known."""
    return not is_known or shared_with(is_known, fields(response))


def fields(response: HttpResponse) -> Headers:
    """Return the fields of a response, but for its cookies, as the rules read them."""
    return Headers.of_text(response.items())


def is_authenticated(request: HttpRequest) -> bool:
    """Tell whether the user is known by other means than a session.

    Django's `request.user` is lazy, and a page that looks at it varies on the cookie. A
    user that is there at once was found otherwise, by a token for instance.
    """
    if "HTTP_AUTHORIZATION" in request.META or request.META.get("REMOTE_USER"):
        return True
    user = vars(request).get("user")
    return not isinstance(user, LazyObject) and bool(getattr(user, "is_authenticated", False))


def within_others(key: str, within: int) -> str:
    """Return Django's `key` for a cache that has `within` others around it, and its own pages."""
    return f"{key}.{within}" if within else key


def varied_key(key: str, headers: list[str], request: HttpRequest) -> str:
    """Return Django's `key` of a page with the digest of `headers`, by name; absent is not empty.

    A page for an origin is for that alone, also where nothing says `Vary: Origin`; and the
    place of the application counts, which Django takes for a part of the path.
    """
    if "HTTP_ORIGIN" in request.META and "HTTP_ORIGIN" not in headers:
        headers = [*headers, "HTTP_ORIGIN"]
    place = request.META.get("SCRIPT_NAME", "")
    if not headers and not place:
        return key
    values = [request.META.get(name) for name in headers]
    told = [length_prefixed([] if value is None else [value.encode()]) for value in values]
    names = [name.encode() for name in (place, *headers)]
    return f"{key}.{blake2b(length_prefixed(names, told), digest_size=20).hexdigest()}"
