# docs/examples/django_project/shop/views.py
"""A sync view and an async view of the same entry, and a page that is cached whole."""

from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse

from shop import catalogue
from twofold.contrib.django import cache_page


def in_sync(request: HttpRequest, number: int) -> JsonResponse:
    """Look up a product from sync code."""
    found = cache.get_or_set(f"product:{number}", lambda: catalogue.product(number))
    return JsonResponse({**found, "price": catalogue.price(number), "loads": catalogue.loads})


async def in_async(request: HttpRequest, number: int) -> JsonResponse:
    """Look up the same product from async code: the very entry, without a thread."""
    found = await cache.aget_or_set(f"product:{number}", lambda: catalogue.product(number))
    price = await sync_to_async(catalogue.price)(number)
    return JsonResponse({**found, "price": price, "loads": catalogue.loads})


@cache_page(60)
async def page(request: HttpRequest) -> HttpResponse:
    """List the products; the whole page is cached, and computed once for all who wait."""
    products = [await sync_to_async(catalogue.product)(number) for number in catalogue.NAMES]
    lines = [f"<li>{each['name']}" for each in products]
    return HttpResponse(f"<ul>{''.join(lines)}</ul><!-- {catalogue.loads} loads -->")
