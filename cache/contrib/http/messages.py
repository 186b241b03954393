"""A request and a response, as the rules see them."""

from typing import NamedTuple

from twofold.contrib.http.headers import Headers


class Request(NamedTuple):
    """What of a request decides which page it is given."""

    method: str
    scheme: str
    host: bytes
    """The `Host` field as it came; nothing that `X-Forwarded-…` fields say."""
    path: bytes
    """The path as it came, escapes and all."""
    query: bytes
    """The query as it came, without the question mark."""
    headers: Headers
    app_path: str = ""
    """The path that the application sees, which something in front may have rewritten."""
    root_path: str = ""
    """Where the application is mounted."""
    application: str = ""
    """Tells the application from others, and is the same in all its processes."""
    has_content: bool = False
    """Whether it has content that its header fields do not announce (RFC 9113, 8.1.1)."""
    has_user: bool = False
    """Whether the server, or a middleware, knows the user, by whatever the client sent."""

    @property
    def reads(self) -> bool:
        """Whether a stored page may be the answer."""
        return self.method in ("GET", "HEAD")

    @property
    def authenticated(self) -> bool:
        """Whether the user is known: by `Authorization`, or because a middleware looked them up."""
        return self.has_user or "authorization" in self.headers

    @property
    def changes(self) -> bool:
        """Whether the method is unsafe: it may change what is at the URI (RFC 9110, 9.2.1)."""
        return self.method not in ("GET", "HEAD", "OPTIONS", "TRACE", "QUERY")


class Response(NamedTuple):
    """An answer; `body` is None while it is streamed, and is nowhere as a whole."""

    status: int
    headers: Headers
    body: bytes | None
