# docs/examples/django_project/shop/catalogue.py
"""The data, which is slow to get at, and a cached function over it."""

import time

from twofold import cached

NAMES = {1: "tea", 2: "coffee", 3: "cocoa"}
loads = 0  # how often this process went to the shelf


def product(number: int) -> dict[str, object]:
    """Return one product, slowly."""
    global loads  # noqa: PLW0603 - an example may count like this
    loads += 1
    time.sleep(0.05)
    return {"number": number, "name": NAMES[number]}


@cached(timeout="10m")
def price(number: int) -> float:
    """Return what a product costs; computed once for all callers."""
    time.sleep(0.05)
    return number * 1.5
