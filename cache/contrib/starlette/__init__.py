"""A shared HTTP cache for Starlette and FastAPI (extra `starlette`).

app = FastAPI(lifespan=twofold_lifespan)
app.add_middleware(CacheMiddleware)

@app.get("/prices")
@cached_page(timeout="1m")
async def prices() -> list[Price]: ...
"""

try:
    import starlette as _starlette  # noqa: F401
except ImportError as _exc:
    raise ImportError("twofold.contrib.starlette needs pip install '.[starlette]'") from _exc

from twofold.contrib.starlette.endpoint import cached_page
from twofold.contrib.starlette.lifespan import twofold_lifespan
from twofold.contrib.starlette.middleware import CacheMiddleware

__all__ = ["CacheMiddleware", "cached_page", "twofold_lifespan"]
