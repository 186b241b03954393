"""What of Django's tests is not run with our backends, and why.

A test of a backend that stands here and overrides one of all backends gives way to that.
What the others stand for is tested in `tests/test_django_backends.py`.
"""

DJANGOS_OWN = {
    "DBCacheTests": "the table of DatabaseCache, which has no counterpart here",
    "DBCacheWithTimeZoneTests": "the same",
    "CreateCacheTableForDBCacheTests": "the same",
    "PyLibMCCacheTests": "MemcachedCache is tested in the place of PyMemcacheCache",
}
"""Classes that test a store of Django's alone."""

BACKENDS = {
    "DummyCacheTests": "DummyCache",
    "AsyncDummyCacheTests": "DummyCache",
    "LocMemCacheTests": "MemoryCache",
    "SQLiteCacheTests": "SQLiteCache",
    "FileBasedCacheTests": "FileCache",
    "FileBasedCachePathLibTests": "FileCache",
    "PyMemcacheCacheTests": "MemcachedCache",
    "RedisCacheTests": "RedisCache",
}
"""Classes that test one backend; all the others run with each."""

METHODS = {
    "BaseCacheTests": {
        "test_cache_write_unpicklable_object": "has a page with a cookie stored; ours is for one",
    },
    "LocMemCacheTests": {
        "setUp": "makes aliases share a dict; ours do that by their LOCATION",
        "test_locking_on_pickle": "asks for _lock",
        "test_incr_decr_timeout": "looks into _expire_info",
    },
    "FileBasedCacheTests": {
        "test_get_ignores_enoent": "asks for _key_to_file",
        "test_empty_cache_file_considered_expired": "asks for _key_to_file and _is_expired",
        "test_get_does_not_ignore_non_filenotfound_exceptions": "replaces builtins.open",
        "test_has_key_race_handling": "replaces builtins.open",
        "test_touch": "moves the clock of FileBasedCache",
    },
    "BaseMemcachedTests": {
        "test_location_multiple_servers": "looks into _servers",
        "test_close": "replaces a method of the client's _class",
        "test_set_many_returns_failing_keys": "replaces a method of the client's _class",
    },
    "PyMemcacheCacheTests": {
        "incr_decr_type_error": "names an error of pymemcache; ours is a TypeError everywhere",
        "test_pymemcache_highest_pickle_version": "looks into the client's serde",
        "test_pymemcache_options": "looks into the client's default_kwargs",
    },
    "RedisCacheTests": {
        "incr_decr_type_error": "names an error of redis-py; ours is a TypeError everywhere",
        "test_incr_write_connection": "replaces a method of RedisCacheClient",
        "test_cache_client_class": "looks into _class and _cache",
        "test_get_backend_timeout_method": "calls a private method of RedisCache",
        "test_get_connection_pool_index": "looks into _cache",
        "test_get_connection_pool": "looks into _cache",
        "test_get_client": "looks into _cache",
        "test_serializer_dumps": "looks into _cache",
        "test_redis_pool_options": "looks into the connection pool of _cache",
        "test_client_driver_info": "looks into _cache",
    },
    "DefaultNonExpiringCacheKeyTests": {
        "test_caches_with_unset_timeout_set_expiring_key": "looks into _expire_info",
        "test_caches_set_with_timeout_as_none_set_non_expiring_key": "looks into _expire_info",
    },
    "CacheMiddlewareTest on MemcachedCache": {
        "test_view_decorator": "2 of 3 seconds are too near: memcached's clock has whole ones",
    },
}
"""Methods, most of which ask a backend for what only Django's own has."""
