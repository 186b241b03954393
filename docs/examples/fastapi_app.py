# docs/examples/fastapi_app.py
import asyncio
import time
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException
from pydantic import BaseModel

from twofold import cache, cached
from twofold.contrib.starlette import CacheMiddleware, cached_page, twofold_lifespan

app = FastAPI(lifespan=twofold_lifespan)
app.add_middleware(CacheMiddleware)

STOCK = {"tea": 3, "cocoa": 8}  # stands for a database
READS = {"stock": 0, "price": 0}


class Product(BaseModel):
    name: str
    left: int
    price: float


def read_stock(name: str) -> int:
    READS["stock"] += 1
    time.sleep(0.05)
    return STOCK[name]


@cached(timeout="10m")
async def price(name: str) -> float:
    READS["price"] += 1
    await asyncio.sleep(0.05)
    return len(name) * 1.5


@app.get("/")
def reads() -> dict[str, int]:
    return READS


@app.get("/sync/{name}")
def in_sync(name: str) -> int:
    return cache.get_or_set(f"stock:{name}", lambda: read_stock(name))


@app.get("/async/{name}")
async def in_async(name: str) -> int:
    return await cache.aget_or_set(f"stock:{name}", lambda: read_stock(name))


@app.get("/products/{name}")
@cached_page(timeout="1m")
async def product(name: str) -> Product:
    if name not in STOCK:
        raise HTTPException(404)
    return Product(name=name, left=await in_async(name), price=await price(name))


@app.put("/products/{name}")
async def deliver(name: str, left: Annotated[int, Body()]) -> None:
    STOCK[name] = left
    await cache.adelete(f"stock:{name}")
