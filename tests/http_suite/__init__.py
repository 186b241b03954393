"""A checkout of http-tests/cache-tests, run through our caches: see `tests/http_suite.sh`.

The suite's own server is the origin; a small application forwards to it, behind our cache;
the suite's own client asks there, and tells what came from the cache.
"""
