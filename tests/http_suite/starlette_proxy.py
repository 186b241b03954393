"""The origin behind `CacheMiddleware`: `python -m tests.http_suite.starlette_proxy PORT`."""

import sys

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES

from tests.http_suite.upstream import NOTHING_KEPT, ORIGIN, TIMEOUT, forwarded, returned
from twofold.contrib.starlette import CacheMiddleware, twofold_lifespan

client = httpx.AsyncClient(base_url=ORIGIN, limits=NOTHING_KEPT)


async def forward(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the origin does."""
    asked = Request(scope, receive)
    sent = client.build_request(asked.method, _target(scope), content=await asked.body())
    sent.headers = httpx.Headers([*_own(sent), *forwarded(scope["headers"])])
    answer = await client.send(sent, stream=True)
    body = b"".join([part async for part in answer.aiter_raw()])
    await answer.aclose()
    response = Response(body, answer.status_code)
    response.raw_headers = returned(answer.headers.raw)
    await response(scope, receive, send)


def _target(scope: Scope) -> str:
    return str(b"?".join(filter(None, [scope["raw_path"], scope["query_string"]])).decode())


def _own(request: httpx.Request) -> list[tuple[str, str]]:
    return [("host", request.headers["host"])]


app = Starlette(lifespan=twofold_lifespan)
app.mount("/", forward)
app.add_middleware(CacheMiddleware, timeout=TIMEOUT)

if __name__ == "__main__":
    STATUS_PHRASES[999] = b""  # by which the suite says that it was to be asked conditionally
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http="h11",
        timeout_keep_alive=600,
        log_level="warning",
        date_header=False,
        server_header=False,
    )
