"""Requests and responses: of Flask, and of the rules."""

from urllib.parse import quote, unquote, urlsplit

import flask

from twofold.contrib.http import Headers, Request, Response
from twofold.contrib.http.spelling import IN_PATH


def request_of(request: flask.Request) -> Request:
    """Return the request as it came to the server, as far as WSGI tells it."""
    environ = request.environ
    server = f"{environ.get('SERVER_NAME')}:{environ.get('SERVER_PORT')}"
    return Request(
        method=request.method,
        scheme=request.scheme,
        host=environ.get("HTTP_HOST", server).encode("latin-1"),
        path=_raw_path(request).encode("latin-1"),
        query=request.query_string,
        headers=Headers.of_text(request.headers),
        app_path=request.root_path + request.path,
        root_path=request.root_path,
        application=flask.current_app.name,
        has_user=bool(environ.get("REMOTE_USER")),
    )


def request_at(url: str) -> Request:
    """Return a request for `url`; of a path alone, at the host of the current request.

    Raises:
        RuntimeError: it is a path alone, and there is no request.
    """
    parts = urlsplit(url)
    if not (parts.netloc or flask.has_request_context()):
        raise RuntimeError(
            f"{url!r} is a path alone, and the host of that is not known outside of request"
            " contexts: give the whole URL, such as https://shop.example/page"
        )
    if flask.has_request_context():
        here = request_of(flask.request)
        scheme, host, root_path = here.scheme, here.host, here.root_path
    else:
        config = flask.current_app.config
        scheme, root_path = config["PREFERRED_URL_SCHEME"], config["APPLICATION_ROOT"].rstrip("/")
    if parts.netloc:
        scheme, host = parts.scheme or scheme, _host(parts.netloc)
    return Request(
        method="GET",
        scheme=scheme,
        host=host,
        path=quote(parts.path, safe=f"{IN_PATH}%").encode(),
        query=parts.query.encode(),
        headers=Headers(),
        app_path=unquote(parts.path),
        root_path=root_path,
        application=flask.current_app.name,
    )


def _host(netloc: str) -> bytes:
    """Return a host as clients name it, whatever alphabet it is written in."""
    return netloc.encode("ascii" if netloc.isascii() else "idna")


def _raw_path(request: flask.Request) -> str:
    """Return the path as it came, where the server tells it; else made of what it tells."""
    for name in ("RAW_URI", "REQUEST_URI"):
        raw: str = request.environ.get(name, "")
        if raw.startswith("/"):  # and not the whole URL, as for a proxy
            return raw.partition("?")[0]
    return quote(request.root_path + request.path, safe=IN_PATH)


def response_of(response: flask.Response) -> Response:
    """Return what `response` sends; its body is None if it is streamed."""
    headers = response.get_wsgi_headers(flask.request.environ)
    body = response.get_data() if response.is_sequence else None
    return Response(response.status_code, Headers.of_text(headers), body)


def flask_response(response: Response) -> flask.Response:
    """Return the response of the current application with these fields."""
    made = flask.current_app.response_class(response.body, response.status)
    put(made, response.headers)
    return made


def put(response: flask.Response, headers: Headers) -> None:
    """Give `response` the fields `headers` instead of its own."""
    response.headers.clear()
    response.headers.extend(headers.text())
