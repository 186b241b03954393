"""A shared HTTP cache by RFC 9111, for whatever framework; `pages` tells how it is used.

The rules are pure functions, a room for each: `storing`, `freshness`, `validators`,
`keys`. `twofold.claims.turns` has one request compute what many ask for.
"""

from twofold.contrib.http.cache_control import add_public
from twofold.contrib.http.headers import Headers, add_vary
from twofold.contrib.http.messages import Request, Response
from twofold.contrib.http.pages import MAX_BODY, Exchange, Pages
from twofold.contrib.http.tags import Given, ViewTags

__all__ = [
    "MAX_BODY",
    "Exchange",
    "Given",
    "Headers",
    "Pages",
    "Request",
    "Response",
    "ViewTags",
    "add_public",
    "add_vary",
]
