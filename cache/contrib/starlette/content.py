"""Whether a request has content that its header fields do not announce."""

from starlette.types import Message, Receive, Scope

from twofold.contrib.http import Request

_TOLD_BY_FIELDS = ("1.0", "1.1")
"""Versions in which content has a length or a coding (RFC 9112, 6.3), unlike in later ones."""


class Content:
    """Stands between the server's `receive` and an application, and looks ahead if asked.

    Nothing is lost by that: the application is given what was read ahead.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._server = receive
        self._ahead: Message | None = None
        told = scope.get("http_version", "1.1") in _TOLD_BY_FIELDS
        self._there: bool | None = False if told else None
        self.receive: Receive = receive if told else self._receive

    def __repr__(self) -> str:
        return f"<Content there={self._there}>"

    async def told(self, request: Request) -> Request:
        """Return a request that says whether it has content; waits for its first message."""
        if self._there is None and request.reads:
            self._ahead = await self._receive()
        return request._replace(has_content=True) if self._there else request

    async def _receive(self) -> Message:
        message, self._ahead = self._ahead, None
        if message is None:
            message = await self._server()
        if self._there is None:
            self._there = bool(message.get("body") or message.get("more_body"))
        return message
