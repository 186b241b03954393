"""A Flask application for real servers, which uses its cache before they fork."""

import os
import threading
import time
from collections.abc import Iterator

from flask import Flask, render_template_string

from twofold import cached
from twofold.contrib.flask import Caching

caching = Caching()
app = Flask(__name__)
app.config["CACHES"] = os.environ["SITE_CACHE"]
caching.init_app(app)

with app.app_context():
    caching.cache.set("at import", "there")

first_half_is_read = threading.Event()


@cached
def double(number: int) -> int:
    return 2 * number


@app.get("/")
@caching.cached_page
def index() -> str:
    return str(caching.cache.get("at import"))


@app.get("/own/<int:number>")
@caching.cached_page
def own(number: int) -> str:
    return render_template_string(
        "{% cache 'own', 60, n %}mine {{ n }}{% endcache %} {{ double(n) }} {{ pid }}",
        n=number,
        double=double,
        pid=os.getpid(),
    )


@app.get("/async/<int:number>")
@caching.cached_page
async def in_async(number: int) -> str:
    return f"mine {number} {time.time_ns()}"


@app.get("/stream")
@caching.cached_page(public=True)
def stream() -> Iterator[bytes]:
    """Send a second half once the first is read, which `/stream/read` tells."""
    yield b"first "
    yield b"second" if first_half_is_read.wait(10) else b"never"


@app.post("/stream/read")
def stream_is_read() -> str:
    first_half_is_read.set()
    return ""
