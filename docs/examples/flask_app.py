# docs/examples/flask_app.py
import asyncio
import time

from flask import Flask, render_template_string

from twofold import cache, cached
from twofold.contrib.flask import Caching

caching = Caching()

NAMES = {1: "tea", 2: "coffee", 3: "cocoa"}  # stands for a database
loads: list[int] = []

PAGE = """
<ul>{% for each in products %}<li>{{ each.name }}{% endfor %}</ul>
{% cache "prices", "10m", products|length %}
  {% for each in products %}{{ price(each.number) }} {% endfor %}
{% endcache %}
"""


def product(number: int) -> dict[str, object]:
    loads.append(number)
    time.sleep(0.05)
    return {"number": number, "name": NAMES[number]}


@cached(timeout="10m")
def price(number: int) -> float:
    time.sleep(0.05)
    return number * 1.5


def create_app() -> Flask:
    app = Flask(__name__)
    caching.init_app(app)

    @app.get("/sync/<int:number>")
    def in_sync(number: int) -> dict[str, object]:
        found = cache.get_or_set(f"product:{number}", lambda: product(number))
        return {**found, "price": price(number), "loads": len(loads)}

    @app.get("/async/<int:number>")
    async def in_async(number: int) -> dict[str, object]:
        found = await cache.aget_or_set(f"product:{number}", lambda: product(number))
        cost = await asyncio.to_thread(price, number)
        return {**found, "price": cost, "loads": len(loads)}

    @app.get("/page")
    @caching.cached_page(timeout="1m")
    async def page() -> str:
        products = await asyncio.gather(*[asyncio.to_thread(product, each) for each in NAMES])
        return await asyncio.to_thread(render_page, products)

    @app.put("/page")
    def change() -> str:
        return "the stored page is gone"

    return app


def render_page(products: list[dict[str, object]]) -> str:
    return render_template_string(PAGE, products=products, price=price)
