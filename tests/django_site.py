"""A Django project for the tests of servers and for the benchmarks, in one module.

The environment says which cache it has: `SITE_BACKEND` (a dotted path), `SITE_LOCATION`,
and whether the cache is used while the module is imported (`SITE_TOUCH`).
"""

import asyncio
import os
from time import perf_counter

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

settings.configure(
    SECRET_KEY="a secret of the tests, which is long enough for anybody",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["twofold.contrib.django"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # tells the length of each answer
    USE_I18N=False,
    LOGGING_CONFIG=None,
    CACHES={
        "default": {
            "BACKEND": os.environ["SITE_BACKEND"],
            "LOCATION": os.environ["SITE_LOCATION"],
        }
    },
)
django.setup()

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.cache import cache_page as djangos_cache_page

from twofold.contrib.django import cache_page

if os.environ.get("SITE_TOUCH"):
    cache.set("touched", "at import")


async def three(request: HttpRequest, number: int) -> HttpResponse:
    """Get three entries, one after the other."""
    found = [await cache.aget(f"{number % 10}:{each}", each) for each in "abc"]
    return HttpResponse("".join(found))


async def bare(request: HttpRequest, number: int) -> HttpResponse:
    """Do the same without a cache."""
    return HttpResponse("".join("abc"))


async def own(request: HttpRequest, number: int) -> HttpResponse:
    """Store something of one's own, and get it back."""
    await cache.aset(f"own:{number}", f"mine {number}", 60)
    return HttpResponse(f"{await cache.aget(f'own:{number}')} {await cache.aget('touched')}")


def own_in_sync(request: HttpRequest, number: int) -> HttpResponse:
    """Do the same in sync code."""
    cache.set(f"own:{number}", f"mine {number}", 60)
    return HttpResponse(f"{cache.get(f'own:{number}')} {cache.get('touched')}")


async def gathered(request: HttpRequest) -> HttpResponse:
    """Get twenty entries side by side, and tell the milliseconds that took."""
    await cache.aget("warm")
    started = perf_counter()
    await asyncio.gather(*[cache.aget(f"gathered:{number}") for number in range(20)])
    return HttpResponse(f"{(perf_counter() - started) * 1e3:.1f}")


async def _page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("page")


async def stalled(request: HttpRequest, whose: str) -> JsonResponse:
    """Ask an async view under `cache_page` three times, and tell the longest stall of the loop."""
    view = {"twofold": cache_page(60), "django": djangos_cache_page(60)}[whose](_page)
    longest, over = 0.0, False

    async def watch() -> None:
        nonlocal longest
        before = perf_counter()
        while not over:
            await asyncio.sleep(0.001)
            now = perf_counter()
            longest, before = max(longest, now - before - 0.001), now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    longest = 0.0
    responses = [await view(request) for _ in range(3)]
    over = True
    await watching
    hits = sum("Age" in response for response in responses)
    return JsonResponse({"milliseconds": longest * 1e3, "hits": hits})


urlpatterns = [
    path("three/<int:number>", three),
    path("bare/<int:number>", bare),
    path("own/<int:number>", own),
    path("sync/own/<int:number>", own_in_sync),
    path("gathered", gathered),
    path("stalled/<str:whose>", stalled),
]

asgi = get_asgi_application()
wsgi = get_wsgi_application()
