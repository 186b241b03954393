# docs/examples/django_project/shop/settings.py
"""The settings; the environment's `CACHE_URL` chooses the cache."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "only-for-this-example-choose-your-own-in-production")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
USE_TZ = True
INSTALLED_APPS = ["twofold.contrib.django"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]

CACHE_URL = os.environ.get("CACHE_URL", "memory://")
BACKENDS = {
    "memory": "MemoryCache",
    "sqlite": "SQLiteCache",
    "files": "FileCache",
    "redis": "RedisCache",
    "memcached": "MemcachedCache",
}
CACHES = {
    "default": {
        "BACKEND": f"twofold.contrib.django.{BACKENDS[CACHE_URL.partition(':')[0]]}",
        "LOCATION": CACHE_URL,
        "TIMEOUT": 60,
        "KEY_PREFIX": "shop",
    }
}
