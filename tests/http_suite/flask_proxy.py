"""The origin behind `Caching.cached_page`: `python -m tests.http_suite.flask_proxy PORT`."""

import sys

import flask
import httpx
from flask import Flask, Response
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.http_suite.upstream import NOTHING_KEPT, ORIGIN, TIMEOUT, forwarded, returned
from twofold.contrib.flask import Caching

METHODS = ["DELETE", "FOO", "GET", "HEAD", "M-SEARCH", "OPTIONS", "PATCH", "POST", "PUT"]

app = Flask(__name__)
app.config["CACHES"] = "memory://"
caching = Caching(app)
client = httpx.Client(base_url=ORIGIN, limits=NOTHING_KEPT)


@app.route("/", defaults={"path": ""}, methods=METHODS, provide_automatic_options=False)
@app.route("/<path:path>", methods=METHODS, provide_automatic_options=False)
@caching.cached_page(timeout=TIMEOUT)
def forward(path: str) -> Response:
    """Answer as the origin does."""
    asked = flask.request
    sent = client.build_request(asked.method, asked.full_path.rstrip("?"), content=asked.get_data())
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in asked.headers]
    sent.headers = httpx.Headers([("host", sent.headers["host"]), *forwarded(fields)])
    answer = client.send(sent, stream=True)
    body = b"".join(answer.iter_raw())
    answer.close()
    back = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in returned(answer.headers.raw)]
    return Response(body, answer.status_code, back)


class Handler(WSGIRequestHandler):
    """Adds no `Date` and no `Server` to those of the origin."""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=Handler)
    server.serve_forever()
