"""What other libraries call what we have, and what to write here instead.

It is read when a name was not found, so that what is right pays nothing.
"""

from collections.abc import Mapping

_ARGUMENTS = {
    "timeout": "ttl ex px expire expires expire_in expires_in expire_after expiration"
    " expiration_time expiry time_to_live lifetime max_age maxage seconds duration"
    " default_timeout cache_timeout default_ttl",
    "max_entries": "maxsize max_size size capacity threshold size_limit",
    "key_prefix": "prefix namespace",
    "key_function": "key_builder key_func make_key",
    "location": "host hostname port server servers address addresses endpoint endpoints url uri dsn"
    " path directory dir",
    "backend": "cache engine type cache_type class cache_class",
    "options": "client_class connection_pool_kwargs",
    "serializer": "serialiser serializer_class coder",
    "compressor": "compression compress compressor_class",
    "deadline": "socket_timeout socket_connect_timeout connect_timeout read_timeout"
    " operation_timeout",
    "on_error": "ignore_exceptions ignore_errors ignore_exc fail_open suppress",
    "username": "user login",
    "password": "passwd pass auth",
    "default": "default_value fallback",
    "delta": "amount step by",
    "wait": "blocking blocking_timeout acquire_timeout wait_timeout",
    "renew": "auto_renewal auto_renew",
    "tags": "tag labels",
    "memory": "mem simple locmem ram local inmemory",
    "files": "file filebased filesystem disk diskcache",
    "memcached": "memcache pymemcache pylibmc mc",
    "redis": "valkey keydb dragonfly",
}
"""Our arguments, settings, options and stores, and their names in other libraries."""

_ADD = "add(key, value) stores only where nothing is"
_DECORATOR = "@twofold.cached decorates functions, as in @cached(timeout=60)"
_OPERATION = {
    "set(key, value, timeout) stores a value": "put store write save setex psetex set_raw",
    _ADD: "setnx set_nx set_if_missing",
    "get_or_set(key, function, timeout) computes and stores what is missing": "get_or_create"
    " get_or_compute getset fetch remember setdefault get_set wrap",
    "get_or_set_many(keys, function, timeout) does so for many": "get_or_create_multi"
    " get_or_create_many",
    "get_many(keys) returns those that are there": "get_multi multi_get mget get_dict",
    "set_many({key: value}, timeout) stores many": "set_multi multi_set mset set_dict",
    "delete_many(keys) removes many": "delete_multi multi_delete mdelete unlink",
    "delete(key) removes one entry": "remove unset pop evict expunge discard rem",
    "has_key(key), or `key in cache`, tells whether it is there": "exists has contains is_cached",
    "touch(key, timeout) gives an entry a new life": "expire pexpire set_expire getex renew",
    "touch(key, None) has an entry live for ever": "persist",
    "ttl(key) tells how long an entry lives": "pttl get_expire expiry time_to_live",
    "incr(key, delta) adds to a counter": "increment inc increase incrby",
    "decr(key, delta) takes from a counter": "decrement dec decrease decrby",
    "clear() removes all entries of the alias": "flush flush_all flushall flushdb clear_all"
    " reset purge delete_all",
    "give entries tags= and call invalidate_tags(…), or clear_prefix(…) for keys that begin alike":
    "delete_pattern delete_match delete_prefix delete_by_tag delete_tags invalidate invalidate_tag"
    " invalidate_pattern delete_startswith",
    "keys are not listed here; what belongs together is given tags= and invalidate_tags(…)":
    "keys iter_keys scan get_match get_keys items values iterkeys",
    "lock(key, timeout) is a context manager, `with` and `async with`": "acquire_lock get_lock"
    " is_locked locked set_lock redlock",
    "stats() counts hits, misses and more": "info get_stats cache_info hits misses memory_usage",
    "close(), or twofold.close_all(), lets go of connections": "disconnect shutdown quit dispose"
    " destroy",
    "twofold.configure(…) takes settings or a URL": "configure setup init init_app init_cache",
    "`twofold check` on the command line tries the store": "ping is_init is_alive health",
    "fn.invalidate(…) of a function with @cached forgets one result, fn.cache_clear() all":
    "delete_memoized delete_memoized_verhash uncache",
    _DECORATOR: "cached memoize cache cache_on_arguments cache_multi_on_arguments early soft hit"
    " failover decorator multi_cached",
}  # fmt: skip
"""What to write, and what operations of a cache are called elsewhere."""

_NAME = {
    "import cached, and write @cached(timeout=60)": "memoize memoized memoise lru_cache ttl_cache"
    " cachedmethod cachedproperty cached_method cachemethod alru_cache acached async_cached"
    " cache_result cache_on_arguments",
    "import cached, and write @cached.many on functions of many ids": "multi_cached cached_many"
    " cache_multi_on_arguments",
    "pages are each framework's, such as cached_page of twofold.contrib.starlette": "cache_page"
    " cached_page cache_response cache_control",
    "import configure, and write configure('redis://localhost')": "from_url set_config add_config",
    "import cache, the default one, or Cache, and write Cache('memory://')": "TTLCache LRUCache"
    " LFUCache FIFOCache RRCache TLRUCache SimpleMemoryCache InMemoryCache MemoryCache FanoutCache",
    "import Cache, and write Cache('redis://localhost'); Django's is twofold.contrib.django."
    "RedisCache": "RedisCache ValkeyCache RedisBackend",
    "import Cache, and write Cache('memcached://localhost')": "MemcachedCache MemcacheCache",
    "import Cache, and write Cache('redis://localhost')": "make_region CacheRegion CacheManager",
    "import caches, and write caches['alias']": "get_cache get_caches",
    "import cache, and write cache.invalidate_tags(…)": "invalidate invalidate_tags"
    " invalidate_further",
    "import cache, and write cache.lock('name')": "RedLock OptimisticLock",
    "import Backend": "BaseCache BaseBackend CacheBackend",
    "import BackendUnavailable": "ConnectionInterrupted CacheUnavailable"
    " CacheBackendInteractionError",
    "write @cached(key=…), with a template or a function of the same arguments": "key_builder"
    " hashkey methodkey typedkey default_key_builder",
    "import MISSING": "NO_VALUE NOT_FOUND ENOVAL",
}
"""What to import, and what that is called elsewhere."""

_PLACE = {
    "LOCATION": "location",
    "TIMEOUT, beside OPTIONS": "timeout",
    "KEY_PREFIX, beside OPTIONS": "key_prefix",
    "VERSION, beside OPTIONS": "version",
    "SERIALIZER, beside OPTIONS": "serializer",
    "COMPRESSOR, beside OPTIONS": "compressor",
    "OPTIONS[{!r}]": "deadline on_error blocking_calls clear",
    "OPTIONS[{!r}], of stores that have it": "max_entries max_bytes username password db cluster"
    " sentinel",
    "FRESHNESS[{!r}]": "stale wait max_wait early retry_after jitter errors",
    "BACKEND": "backend",
}
_NOT_NEEDED = {
    "each thread has a connection, and each event loop one or two": "max_connections pool_size"
    " pool_max_size max_pool_size pool_min_size minsize",
    "values come back as what they were": "decode_responses encoding decode",
    "what changes nothing is tried once more, within OPTIONS['deadline']": "retry_on_timeout retry"
    " retries max_retries retry_on_error",
}
"""What settings ask for elsewhere that is so here, always."""

_OF_DECORATOR = {
    _ARGUMENTS["timeout"]: "how long a result is kept is timeout=, such as timeout=60 or"
    " timeout='10m'",
    "key_builder key_func key_fn key_function key_maker make_key make_cache_key keygen"
    " key_generator function_key_generator hash_func hash_function": (
        "what makes the key is key=, a function of the same arguments or a template"
    ),
    "namespace prefix key_prefix name tag_prefix": (
        "all keys of an alias begin with its KEY_PREFIX in the settings; those of one function"
        " begin as the template key= does"
    ),
    "maxsize max_size max_entries maxsize_bytes capacity size": (
        "how much is kept is the store's business: OPTIONS['max_entries'] of the memory store"
    ),
    "typed": "arguments of different types have keys of their own, always",
    "ignored ignore_args exclude exclude_args skip_args noself ignore_self": (
        "parameters that stay out of the key are named by ignore=, such as ignore=('self',)"
    ),
    "unless skip skip_cache_func skip_cache_if cache_if response_filter cache_none": (
        "condition=, a function of the result, decides whether it is stored"
    ),
    "backend alias using region store storage": "which cache keeps the results is cache=",
    "lock stampede single_flight": "a function runs once for all who miss together, always",
    "serializer": "how results are stored is the SERIALIZER of the alias in the settings",
    "version": "keys carry the VERSION of the alias in the settings",
    "tag": "what results can be invalidated by is tags=, such as tags=['user:{user_id}']",
}
"""Options that decorators have elsewhere, and what to write instead."""

_OF_CALL = {
    "nx": _ADD,
    "xx": "touch(key) tells whether the key is there",
    "client": "the store is that of the alias",
    "sleep": "who waits looks again as often as it helps",
    "thread_local": "any thread may release a lock",
}
"""Arguments that have no counterpart."""


def _by_name(table: Mapping[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, names in table.items() for theirs in names.split()}


OURS: Mapping[str, str] = _by_name(_ARGUMENTS)
"""Our names of arguments and settings by those of other libraries."""

NAMES: Mapping[str, str] = _by_name(_NAME)
"""What to import from twofold, by names that are imported elsewhere."""

OF_DECORATORS: Mapping[str, str] = {
    name: advice for names, advice in _OF_DECORATOR.items() for name in names.split()
}
"""What to write for an option of a decorator."""

OF_CALLS: Mapping[str, str] = _OF_CALL
"""What to write for an argument that no operation has, and that is no other one's name."""

_OPERATIONS = _by_name(_OPERATION)
_PLACES = _by_name(_PLACE)
_ALWAYS = _by_name(_NOT_NEEDED)


def operation(name: str) -> str | None:
    """Return what to write for an operation of a cache, in either face, that there is not."""
    return _OPERATIONS.get(name) or _OPERATIONS.get(name.removeprefix("a"))


def setting(name: str) -> str | None:
    """Return what to do about a setting or an option that stands in a wrong place, or nowhere."""
    from difflib import get_close_matches

    theirs = name.lower()
    ours = OURS.get(theirs, theirs)
    if theirs not in _ALWAYS and ours not in _PLACES:
        ours = next(iter(get_close_matches(theirs, _PLACES, n=1, cutoff=0.8)), ours)
    if ours in _PLACES:
        return f"it is {_PLACES[ours].format(ours)}"
    return f"leave it out: {_ALWAYS[theirs]}" if theirs in _ALWAYS else None
