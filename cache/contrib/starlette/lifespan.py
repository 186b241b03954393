"""The end of an application: every cache is closed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from twofold.registry import aclose_all


@asynccontextmanager
async def twofold_lifespan(_app: Starlette | None = None, /) -> AsyncIterator[None]:
    """Close all caches when an application ends: `FastAPI(lifespan=twofold_lifespan)`.

    With a lifespan of your own, enter it there: `async with twofold_lifespan():`.
    """
    try:
        yield
    finally:
        await aclose_all()
