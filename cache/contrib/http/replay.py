"""What a view made: stored as it was made, and replayed in the view's place.

Between a view and its client stand decorators, hooks and middleware, which run for each
request. So what the view itself made is stored, and they run on it again as on a new
response. But whether a page may be stored, for how long and for whom is decided by the
response that is sent in the end, since they add `Set-Cookie`, `Vary` and `Cache-Control`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from twofold.contrib.http.cache_control import CacheControl
from twofold.contrib.http.headers import Headers, Pairs, varying
from twofold.contrib.http.messages import Request, Response
from twofold.contrib.http.storing import forbids
from twofold.contrib.http.validators import CONDITIONS, entity_tag

_MADE_BY = b"twofold-view"
"""The field, in the store only, that names the view which made a page."""

_OWN = b"twofold-own"
"""The fields, in the store only, that keep what the view itself said: `_SAID`."""

_TOLD_LAST = ("age", "cache-control", "expires", "pragma", "vary")
"""The fields of the final response that say who may be given the page, and for how long."""

_TOLD_BY_CACHE = frozenset({b"age", b"cache-status"})

_NOT_OF_VIEW = frozenset({b"etag", _MADE_BY, _OWN, *map(str.encode, _TOLD_LAST), *_TOLD_BY_CACHE})

_SAID = ("cache-control", "etag", "expires", "pragma", "vary")
"""What a view said that is replayed as it was; its `Age` counts in that of the page."""

_KNOWN = 512  # of fields that were taken apart


def looking(request: Request) -> Request:
    """Return `request` as the look for a whole page.

    Whether the client has the page already is seen in the end, and for HEAD the body is
    left out there; no caller waits for what HEAD computes, and that is not stored.
    """
    headers = request.headers
    if headers.any_of(CONDITIONS):
        headers = headers.without("if-none-match", "if-modified-since")
    if request.method == "HEAD":
        headers = headers.plus("cache-control", "no-store")
    elif headers is request.headers:
        return request
    return request._replace(method="GET", headers=headers)


def page_of(given: Response, final: Response, maker: str) -> Response:
    """Return the page to store of what a view made; its body is None if it is not to be.

    Args:
        given: what the view made.
        final: what is sent.
        maker: the name of the view.
    """
    own = given.headers.only(*_SAID).pairs
    kept = given.headers.without(*_TOLD_LAST).followed_by(((_MADE_BY, maker.encode()),)).pairs
    noted = [(_OWN, name + b":" + value) for name, value in own]
    sharable = given.status == final.status and not forbids(given.headers)
    headers = Headers((*kept, *noted, *_conditions(given.headers, final.headers).pairs))
    return given._replace(headers=headers, body=given.body if sharable else None)


def _conditions(given: Headers, final: Headers) -> Headers:
    """Return what a page's view and the final response say of its storing, taken together.

    Something between them may have made a new response of the view's, without its fields.
    `Cookie` in the final `Vary` of a page that its view calls public comes from what is
    added after the view, which is added to the stored page too.
    """
    said = [(name.encode(), final.raw(name) or given.raw(name)) for name in _TOLD_LAST]
    told = final.only("set-cookie").followed_by(
        tuple([(name, value) for name, values in said for value in values])
    )
    own, added = varying(given), varying(final)
    if own is None or added is None:
        return told.without("vary").plus("vary", "*")
    names = {*own, *added}
    if "public" in CacheControl(given) and "cookie" not in own:
        names.discard("cookie")
    told = told.without("vary")
    return told.plus("vary", ", ".join(sorted(names))) if names else told


class Replay(NamedTuple):
    """A stored page, taken apart."""

    maker: str
    """The name of the view that made it: at one URL several may have a turn."""
    made: Response
    """What the view once made."""
    told: Pairs
    """The fields by which the cache describes the page."""
    tag: str
    """What was computed as the tag of `made`; empty if the view gave one."""


def replay_of(answer: Response) -> Replay:
    """Return what there is in an answer from the store, or in one that was just stored.

    For the former the cache also sends its age.
    """
    pairs = answer.headers.pairs
    last = -2 if pairs[-2:-1] and pairs[-2][0] == b"age" else -1
    maker, headers, tag = _taken_apart(pairs[:last])
    return Replay(maker, Response(answer.status, headers, answer.body), pairs[last:], tag)


@lru_cache(maxsize=_KNOWN)
def _taken_apart(fields: Pairs) -> tuple[str, Headers, str]:
    """Return who made a stored page, the fields that its view gave it, and what was its tag."""
    kept, own = [], []
    maker = tag = b""
    for field in fields:
        name = field[0].lower()
        if name not in _NOT_OF_VIEW:
            kept.append(field)
        elif name == _MADE_BY:
            maker = field[1]
        elif name == _OWN:
            own.append(field[1].partition(b":")[::2])
        elif name == b"etag":
            tag = field[1]
    if own:
        kept += Headers(own).only(*_SAID).pairs
        tag = b"" if any(name.lower() == b"etag" for name, _ in own) else tag
    return maker.decode("latin-1"), Headers.of_bytes(tuple(kept)), tag.decode("latin-1")


def tagged(final: Response, given: Response | None, tag: str = "") -> Headers:
    """Return the fields of a response with a strong tag of its body; none if it is streamed.

    A tag that the application gave stays, unless it gave that to other content.

    Args:
        final: what is sent.
        given: what the view made.
        tag: of `given`, if it is known already.
    """
    tags, same = final.headers.raw("etag"), given is not None and _same_content(final, given)
    if tags and (same or given is None or tags != given.headers.raw("etag")):
        return final.headers
    untagged = final.headers.without("etag") if tags else final.headers
    if final.body is None:
        return untagged
    return untagged.plus("etag", tag if same and tag else entity_tag(untagged, final.body))


def _same_content(one: Response, other: Response) -> bool:
    same = one.headers is other.headers or _type(one) == _type(other)
    return same and one.body == other.body


def _type(response: Response) -> list[Sequence[bytes]]:
    return [response.headers.raw(name) for name in ("content-type", "content-encoding")]
