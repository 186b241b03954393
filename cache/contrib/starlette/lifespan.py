"""The end of an application: every cache is closed."""

from starlette.applications import Starlette

from twofold.registry import aclose_all


class Lifespan:
    """Closes all caches on leaving; called with an application, it is its lifespan."""

    def __call__(self, _app: Starlette, /) -> "Lifespan":
        return self

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        await aclose_all()


def twofold_lifespan(_app: Starlette | None = None, /) -> Lifespan:
    """Close all caches when an application ends: `FastAPI(lifespan=twofold_lifespan)`.

    With a lifespan of your own, enter it there: `async with twofold_lifespan():`.
    """
    return Lifespan()
