"""Settings: every source, every error with its way out, and no secret shown."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from twofold import registry
from twofold.backend import Backend, InlineBackend
from twofold.backends.dummy import DummyBackend
from twofold.backends.memory import MemoryBackend
from twofold.backends.sqlite import SQLiteBackend
from twofold.display import mask_location, mask_url
from twofold.errors import SettingsError
from twofold.registry import build, caches
from twofold.settings import (
    CacheConfig,
    backend_class,
    discover,
    entry_options,
    read_cache,
    read_caches,
    split_options,
)
from twofold.settings import sources as settings


class Store(InlineBackend):
    """A backend that passes the options that it does not know on to its base."""

    def __init__(self, location="", *, size=10, Colour="red", **options):  # noqa: N803
        super().__init__(location, **options)


class Closed(Backend):
    """A backend that takes no other options than its own."""

    def __init__(self, location="", *, only=1):
        super().__init__(location)


def make_key(key, prefix, version):
    return f"{prefix}/{version}/{key}"


NOT_CALLABLE = 7


def refused(raw, alias="default"):
    """Return the message with which an entry of CACHES is refused."""
    with pytest.raises(SettingsError) as caught:
        read_cache(alias, raw)
    return str(caught.value)


def test_an_entry_without_more_has_the_defaults():
    """What is not set has the documented default."""
    assert read_cache("default", {"BACKEND": "memory"}) == CacheConfig(
        alias="default",
        backend="memory",
        location="",
        timeout=300.0,
        key_prefix="",
        version=1,
        key_function=None,
        serializer="msgpack",
        compressor=None,
        compress_min=256,
        secret=None,
        options={},
    )


def test_every_setting_is_read_in_any_letter_case():
    """Names of settings may be in upper or lower case, as TOML's users write them."""
    raw = {
        "BACKEND": "redis",
        "Location": ["redis://a", "redis://b"],
        "timeout": "10m",
        "KEY_PREFIX": "shop",
        "version": 2,
        "key_function": make_key,
        "serializer": "json",
        "compressor": "zstd",
        "compress_min": 1000,
        "secret": b"s" * 16,
        "options": {"deadline": 2},
    }
    assert read_cache("x", raw) == CacheConfig(
        "x",
        "redis",
        ["redis://a", "redis://b"],
        600.0,
        "shop",
        2,
        make_key,
        "json",
        "zstd",
        1000,
        b"s" * 16,
        {"deadline": 2},
    )


@pytest.mark.parametrize("none", [None, "none", "None"])
def test_none_may_be_written_as_text(none):
    """Sources without None, such as TOML, write it as text."""
    config = read_cache(
        "x", {"BACKEND": "memory", "TIMEOUT": none, "SERIALIZER": none, "COMPRESSOR": none}
    )
    assert (config.timeout, config.serializer, config.compressor) == (None, None, None)


def test_a_location_may_be_a_path(tmp_path):
    """A path object is as good as its text."""
    assert read_cache("x", {"BACKEND": "sqlite", "LOCATION": tmp_path}).location == str(tmp_path)


def test_a_key_function_may_be_a_dotted_path():
    """KEY_FUNCTION by its path is imported."""
    for path in (f"{__name__}.make_key", f"{__name__}:make_key"):
        config = read_cache("x", {"BACKEND": "memory", "KEY_FUNCTION": path})
        assert config.key_function is make_key


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BACKEND", 7, "must be a short name or a dotted path, not 7"),
        ("BACKEND", "", "must not be empty"),
        ("LOCATION", 7, "must be text, a path, or a list of text, not 7"),
        ("LOCATION", ["a", 7], "must be a list of text, not 7"),
        ("TIMEOUT", True, "not True"),
        ("TIMEOUT", "soon", "'soon' is no duration"),
        ("TIMEOUT", [1], "not a list"),
        ("KEY_PREFIX", "a:b", "'.' or '-'"),
        ("KEY_PREFIX", 7, "not 7"),
        ("VERSION", "1", "not '1'"),
        ("VERSION", True, "not True"),
        ("KEY_FUNCTION", 7, "must be a function (key, key_prefix, version), not 7"),
        ("KEY_FUNCTION", "make_key", "is no dotted path"),
        ("KEY_FUNCTION", f"{__name__}.make_kye", "did you mean 'make_key'?"),
        ("KEY_FUNCTION", f"{__name__}.NOT_CALLABLE", "must be a function"),
        ("KEY_FUNCTION", "no_such_module.make", "there is no module 'no_such_module'"),
        ("SERIALIZER", 7, "not 7"),
        ("COMPRESSOR", "", "must not be empty"),
        ("COMPRESS_MIN", -1, "0 or more; not -1"),
        ("COMPRESS_MIN", "1", "must be a number of bytes, not '1'"),
        ("SECRET", "", "at least 16 bytes"),
        ("SECRET", 7, "at least 16 bytes"),
        ("SECRET", b"fifteen letters", "at least 16 bytes"),
        ("SECRET", ["a secret of its own", "none"], "at least 16 bytes"),
        ("SECRET", [], "secrets.token_urlsafe"),
        ("OPTIONS", ["a"], "must be a dict"),
        ("OPTIONS", {1: 2}, "must be a dict"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(name, value, message):
    """The message says which setting of which alias is wrong, and what would be right."""
    text = refused({"BACKEND": "memory", name: value}, "shop")
    assert text.startswith(f"CACHES['shop']['{name}']: ")
    assert message in text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"BACKEND": "memory", "TIMOUT": 1}, "no setting 'TIMOUT'; did you mean 'TIMEOUT'?"),
        ({"BACKEND": "memory", "zzz": 1}, "no setting 'zzz'. There are: BACKEND, COMPRESSOR"),
        ({"BACKEND": "memory", 7: 1}, "no setting '7'"),
        ({"BACKEND": "memory", "backend": "x"}, "'BACKEND' is given twice"),
        ({"BACKEND": "memory", "MAX_ENTRIES": 1}, "put it into OPTIONS"),
        ({"BACKEND": "memory", "cull_frequency": 3}, "'cull_frequency' is an option: put it"),
        ({}, "no BACKEND is named"),
        ({"LOCATION": "a.db"}, "no BACKEND is named"),
        ("memory", "'memory' is no URL"),
        ("'memory://'", "sqlite:///c.db'; leave out the quotes"),
        (7, "a dict of settings or a URL such as 'memory://', not 7"),
        ("sqlite://a.db", "sqlite:///a.db for a path relative"),
        ("files://a", "files:///a for a path relative to the working directory, files:////a for"),
        ("memory://?timeout=1&TIMEOUT=2", "gives 'TIMEOUT' twice"),
        ("memory://?timeout=soon", "['TIMEOUT']: the timeout 'soon'"),
        ({"LOCATION": "memory://?timeout=1", "TIMEOUT": 2}, "in the URL and beside it"),
        ({"LOCATION": "memory://?a=1", "OPTIONS": {"A": 2}}, "in the URL and beside it"),
        ({"LOCATION": "memory://?a=1", "OPTIONS": 7}, "must be a dict"),
    ],
)
def test_a_wrong_entry_is_refused(raw, message):
    """Unknown and contradictory settings are refused, with the nearest right name."""
    text = refused(raw, "shop")
    assert text.startswith("CACHES['shop']")
    assert message in text


@pytest.mark.parametrize("raw", [{}, [], None, {"": "memory://"}, {7: "memory://"}])
def test_caches_is_a_dict_of_aliases(raw):
    """Nothing else can be CACHES, and an alias is text."""
    with pytest.raises(SettingsError, match="CACHES"):
        read_caches(raw)


def test_caches_are_read_by_alias():
    """Every alias has the configuration of its entry."""
    configs = read_caches({"default": "memory://", "big": {"BACKEND": "sqlite"}})
    assert [(alias, each.alias, each.backend) for alias, each in configs.items()] == [
        ("default", "default", "memory"),
        ("big", "big", "sqlite"),
    ]


@pytest.mark.parametrize(
    ("url", "backend", "location"),
    [
        ("memory://", "memory", ""),
        ("memory://pages", "memory", "pages"),
        ("MEMORY://a%20b", "memory", "a b"),
        ("dummy://", "dummy", ""),
        ("sqlite://", "sqlite", ""),
        ("sqlite:///var/c.db", "sqlite", "var/c.db"),
        ("files:///var/c%20d", "files", "var/c d"),
        ("files:////var/c", "files", "/var/c"),
        ("sqlite:////var/c%3F.db", "sqlite", "/var/c?.db"),
        ("redis://:pw@h:1/0", "redis", "redis://:pw@h:1/0"),
        ("redis://h:1,h:2", "redis", "redis://h:1,h:2"),
        ("redis://h:1,redis://h:2/0", "redis", "redis://h:1,redis://h:2/0"),
        ("rediss://h", "redis", "rediss://h"),
        ("unix:///run/redis.sock", "redis", "unix:///run/redis.sock"),
        ("valkey://h:1/0", "redis", "valkey://h:1/0"),
        ("VALKEYS://h", "redis", "VALKEYS://h"),
        ("memcached://h1,h2:11212", "memcached", "memcached://h1,h2:11212"),
        ("ours+tls://h", "ours+tls", "ours+tls://h"),
    ],
)
def test_a_url_chooses_backend_and_location(url, backend, location):
    """The scheme is the backend's name; a local store gets its name or path, others the URL."""
    for raw in (url, {"LOCATION": url}):
        config = read_cache("x", raw)
        assert (config.backend, config.location) == (backend, location)
        assert config.options == {}


def test_parameters_of_a_local_url_are_settings_and_options():
    """Known names are settings, all others options, with numbers and truth read as such."""
    config = read_cache(
        "x",
        "sqlite:///c.db?timeout=60&Key_Prefix=12&VERSION=2&serializer=none&secret=5555555555555555&max_entries=1000"
        "&ratio=.5&big=1e3&flag=TRUE&off=false&name=a%26b+c&odd=1_0&nan=nan",
    )
    assert (config.timeout, config.key_prefix, config.version) == (60.0, "12", 2)
    assert (config.serializer, config.secret, config.location) == (None, "5" * 16, "c.db")
    assert config.options == {
        "max_entries": 1000,
        "ratio": 0.5,
        "big": 1000.0,
        "flag": True,
        "off": False,
        "name": "a&b c",
        "odd": "1_0",
        "nan": "nan",
    }
    assert type(config.options["max_entries"]) is int


@pytest.mark.parametrize("text", ["none", "", "short"])
def test_a_secret_in_a_url_is_long_enough(text):
    """What cannot be a secret is refused, with what makes one, and not shown."""
    told = refused(f"sqlite:///c.db?secret={text}")
    assert "['SECRET']: must be text or bytes of at least 16 bytes" in told
    assert 'python -c "import secrets; print(secrets.token_urlsafe(32))"' in told
    assert text not in told or text in ("", "none")


def test_a_secret_of_sixteen_bytes_is_long_enough():
    """Bytes count, not characters, and None is no secret."""
    for secret in ("é" * 8, b"x" * 16, ["x" * 16, b"y" * 16], None):
        assert read_cache("x", {"BACKEND": "memory", "SECRET": secret}).secret == secret


@pytest.mark.parametrize("url", ["sqlite:///c.db?context=5&numbers=bare", "memory://?CONTEXT=5"])
def test_what_is_signed_is_an_option(url):
    """`numbers` is unset unless given, and `context` is text whatever it looks like."""
    told = entry_options(read_cache("x", url))
    assert told == {"context": "5", "numbers": "bare" if "bare" in url else None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numbers": "unsigned"}, "'numbers' is one of signed, bare"),
        ({"context": 5}, "'context' is text"),
    ],
)
def test_what_is_signed_is_checked_at_once(options, message):
    """A wrong option of entries is refused when the settings are read."""
    with pytest.raises(SettingsError, match=message):
        registry.check(read_cache("x", {"BACKEND": "memory", "OPTIONS": options}))


def test_only_settings_are_taken_out_of_a_drivers_url():
    """The URL of a network store keeps the parameters that its driver reads."""
    config = read_cache("x", "theirs://h/0?protocol=3&timeout=60&name=a%20b&key_prefix=p")
    assert config.location == "theirs://h/0?protocol=3&name=a%20b"
    assert (config.timeout, config.key_prefix, config.options) == (60.0, "p", {})


def test_parameters_of_a_redis_url_are_settings_and_options():
    """A store of this package takes all its options in the URL; passwords stay text."""
    config = read_cache(
        "x",
        "redis://h:1,h:2/?cluster=true&key_prefix=x&deadline=0.5&password=007&Sentinel_Password=1e3"
        "&username=a%26b&ssl_ca_certs=/ca.pem",
    )
    assert (config.location, config.key_prefix) == ("redis://h:1,h:2/", "x")
    assert config.options == {
        "cluster": True,
        "deadline": 0.5,
        "password": "007",
        "Sentinel_Password": "1e3",
        "username": "a&b",
        "ssl_ca_certs": "/ca.pem",
    }
    assert read_cache("x", "unix:///run/r.sock?db=1").options == {"db": 1}


@pytest.mark.parametrize(
    "name",
    [
        "username",
        "password",
        "sentinel",
        "Sentinel_Username",
        "sentinel_password",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_cert_reqs",
    ],
)
@pytest.mark.parametrize("text", ["123", "none", "true", "1e3"])
def test_an_option_that_is_text_stays_text(name, text):
    """A name that looks like a number, or like None, is a name, in a URL and in a dict."""
    url = f"redis://h/0?{name}={text}"
    for raw in (url, {"BACKEND": "redis", "OPTIONS": {name: text}}):
        assert read_cache("x", raw).options == {name: text}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("redis://h?clustr=true", "no option 'clustr'; did you mean 'cluster'?"),
        ("redis://h?protocol=3", "no option 'protocol'. There are: blocking_calls, clear, cluster"),
        ("redis://h:70000", "LOCATION 'redis://h:70000' has no port '70000': write redis://"),
        ("redis://h/x?timeout=1", "LOCATION 'redis://h/x' has no database 'x'"),
        ("redis://h/1?db=2", "OPTIONS['db'] is 2, and the URL of h:6379 has database 1"),
        ("redis://h1,?timeout=1", "LOCATION names several servers, and one of them has no host"),
        ("redis://u:hidden@h1,v:hidden@h2", "write '@' in a user or password as %40"),
        ("redis://h?ssl_cert_reqs=none", "OPTIONS['ssl_cert_reqs'] is for TLS: write rediss://"),
        ("rediss://h?ssl_ca_certs=7", "OPTIONS['ssl_ca_certs']: there is no file '7'"),
        ("redis://h?db=x", "OPTIONS['db'] is the number of a database, 0 or more; not 'x'"),
        ("redis://h/3?cluster=true", "a cluster has no database 3"),
        (
            "redis://h?cluster=true&sentinel=s",
            "OPTIONS['cluster'] and OPTIONS['sentinel'] do not go together",
        ),
        ("unix:///r.sock?cluster=true", "OPTIONS['cluster'] and a Unix socket in LOCATION"),
        ("redis://h?cluster=1", "OPTIONS['cluster'] is True or False, not 1"),
        ("redis://h?deadline=0", "OPTIONS['deadline'] is the seconds"),
        ({"BACKEND": "redis", "LOCATION": "h:1"}, "LOCATION 'h:1' is no URL of a Redis server"),
        ({"BACKEND": "redis", "LOCATION": []}, "LOCATION names no server"),
        ({"BACKEND": "redis", "LOCATION": ["redis://h", "h"]}, "LOCATION 'h' is no URL"),
        ({"BACKEND": "redis", "LOCATION": "redis://:hidden@h:x"}, "'redis://:***@h:x' has no port"),
    ],
)
def test_a_wrong_redis_is_refused(raw, message):
    """The message names the alias, the setting, what it holds, and no password."""
    with pytest.raises(SettingsError) as caught:
        build(read_cache("shop", raw))
    assert str(caught.value).startswith("CACHES['shop']")
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_list_of_servers_is_for_stores_that_have_several():
    """A store with one place refuses a list; Redis takes it as it is."""
    with pytest.raises(
        SettingsError, match="'LOCATION'] is a list, and SQLiteBackend takes one place"
    ):
        build(read_cache("x", {"BACKEND": "sqlite", "LOCATION": ["a.db", "b.db"]}))
    servers = ["redis://h:1", "redis://h:2"]
    cache = build(read_cache("x", {"BACKEND": "redis", "LOCATION": servers}))
    assert [each.name for each in cache.stats().servers] == ["h:1", "h:2"]


def test_valkey_has_schemes_of_its_own():
    """`valkey://` and `valkeys://` are what `redis://` and `rediss://` are, one or several."""
    cache = build(read_cache("x", "valkeys://h1,valkeys://h2?ssl_cert_reqs=none"))
    assert [each.name for each in cache.stats().servers] == ["h1:6379", "h2:6379"]
    cache = build(read_cache("x", {"BACKEND": "redis", "LOCATION": ["valkey://h1/1"]}))
    assert [each.name for each in cache.stats().servers] == ["h1:6379"]
    assert "OPTIONS['ssl_cert_reqs'] is for TLS" in refused_build("valkey://h?ssl_cert_reqs=none")


def refused_build(raw):
    """Return the message with which a cache is refused."""
    with pytest.raises(SettingsError) as caught:
        build(read_cache("shop", raw))
    return str(caught.value)


def test_a_backend_named_beside_a_url_reads_the_url_itself():
    """BACKEND comes first: only a URL of its own scheme is taken apart."""
    own = read_cache("x", {"BACKEND": "sqlite", "LOCATION": "sqlite:///c.db"})
    assert own.location == "c.db"
    other = read_cache("x", {"BACKEND": "a.b", "LOCATION": "sqlite:///c.db?x=1"})
    assert other.location == "sqlite:///c.db?x=1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pw@h:1/0", "redis://user:***@h:1/0"),
        ("redis://:p@w/x@h", "redis://:***@h"),
        ("redis://h:6379/0?db=1", "redis://h:6379/0?db=1"),
        ("redis://h?password=pw&db=1&auth_token=t", "redis://h?password=***&db=1&auth_token=***"),
        ("memory://?SECRET=a%20b&key_prefix=p", "memory://?SECRET=***&key_prefix=p"),
        ("plain", "plain"),
        ("redis://:my pw@h:bad", "redis://:***@h:bad"),
        ("redis://my user:my pw@h", "redis://my user:***@h"),
        ("redis://u@x:pw@h", "redis://u@x:***@h"),
        ("redis://u/x:pw@h", "redis://u/x:***@h"),
        ("redis://:p\nw @h", "redis://:***@h"),
        ("redis://h:1, redis://:pw@h2", "redis://h:1, redis://:***@h2"),
        ("from redis://u:p w@h to redis://:pw@h2/0", "from redis://u:***@h to redis://:***@h2/0"),
        ("['redis://h', 'redis://:p w@h2']", "['redis://h', 'redis://:***@h2']"),
        ("<X 'redis://h:1/0' native, h:1 closed>", "<X 'redis://h:1/0' native, h:1 closed>"),
        ("redis://token@h:1/0", "redis://***@h:1/0"),
        ("redis://token:@h", "redis://***@h"),
        ("redis://h1,token@h2", "redis://***@h2"),
        ("at redis://token@h and valkey://h2", "at redis://***@h and valkey://h2"),
        ("redis://:a://b@h", "redis://:***@h"),
        (
            "redis://h?p%61ssword=pw&PWD=my pw&auth=x&api-key=y",
            "redis://h?p%61ssword=***&PWD=***&auth=***&api-key=***",
        ),
        ("redis://u:pw@h?x=a@b&password=pw", "redis://u:***@b&password=***"),
    ],
)
def test_urls_are_shown_without_passwords(url, shown):
    """What a log shows of a URL lets nobody in."""
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("u:hidden@h:11211,h2", "***@h:11211,h2"),
        ("redis:/:hidden@h", "***@h"),
        ("/run/a@b.sock", "/run/a@b.sock"),
        ("./a@b.db", "./a@b.db"),
        ("h1,h2", "h1,h2"),
        ("redis://hidden@h", "redis://***@h"),
    ],
)
def test_a_location_is_shown_without_a_login(location, shown):
    """Bare hosts may have a login too; paths have none."""
    assert mask_location(location) == shown
    assert repr(DummyBackend(location)) == f"<DummyBackend {shown!r} inline>"
    assert repr(shown) in repr(MemoryBackend(location))
    assert repr(DummyBackend([location])) == f"<DummyBackend {[shown]!r} inline>"


def test_a_configuration_is_shown_without_secrets():
    """`repr` shows what was set, and hides passwords wherever they stand."""
    config = read_cache(
        "x",
        {
            "BACKEND": "redis",
            "LOCATION": ["redis://:hidden@h", "redis://hidden@h", "hidden@h"],
            "SECRET": "hidden" * 3,
            "TIMEOUT": 60,
            "OPTIONS": {
                "password": "hidden",
                "auth": {"user": "u", "pin": 4711},
                "url": b"redis://hidden@h",
                "nested": {"api_token": "hidden", "urls": ("redis://:hidden@h",)},
                "size": 1,
            },
        },
    )
    assert repr(config) == (
        "CacheConfig(alias='x', backend='redis', location=['redis://:***@h',"
        " 'redis://***@h', '***@h'], timeout=60.0, secret='***', options={'password': '***',"
        " 'auth': '***', 'url': b'redis://***@h', 'nested':"
        " {'api_token': '***', 'urls': ['redis://:***@h']}, 'size': 1})"
    )
    assert repr(read_cache("d", "memory://")) == "CacheConfig(alias='d', backend='memory')"


def test_errors_of_urls_and_secrets_show_no_secret():
    """An error is logged too: no secret is in it."""
    assert "hidden" not in refused("memory://?secret=hidden&a=1&a=2")
    assert "hidden" not in refused("memory://?secret=my hidden&a=1&a=2")
    assert "hidden" not in refused({"BACKEND": "memory", "SECRET": ["hidden", 5]})


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", " ", "\t"])
def test_a_url_ends_where_it_ends(end, monkeypatch):
    """What an env file leaves around a URL is no part of it, in whatever source it stands."""
    for url in ("sqlite:///c.db", "sqlite:///c.db?timeout=10m", "redis://h/0", "memory://"):
        wanted = read_cache("x", url)
        assert read_cache("x", f"{end}{url}{end}") == wanted
        assert read_cache("x", {"LOCATION": url + end}) == wanted
        assert read_cache("x", {"BACKEND": wanted.backend, "LOCATION": url + end}) == wanted
    several = {"BACKEND": "redis", "LOCATION": ["redis://h1" + end, "redis://h2"]}
    assert read_cache("x", several).location == ["redis://h1", "redis://h2"]


@pytest.mark.parametrize(
    "raw",
    [
        "sqlite:///a\rb.db",
        "sqlite:///a%0Db.db",
        "sqlite:///a\x85b.db",
        "redis://h\n/0",
        "memory://?timeout=10m\r&key_prefix=a",
        {"BACKEND": "sqlite", "LOCATION": "c.db\r"},
        {"BACKEND": "redis", "LOCATION": ["redis://h\r1"]},
    ],
)
def test_a_control_character_in_a_location_is_refused(raw):
    """No file is made whose name nobody can type, and no host is altered without a word."""
    assert "there is a control character, '\\" in refused(raw)


@pytest.mark.parametrize(
    "entry",
    [
        [{"BACKEND": "memory", "SECRET": "hidden"}],
        ("redis://:hidden@h",),
        "redis:/:hidden@h",
        "u:hidden@h",
        {"LOCATION": {"url": "redis://:hidden@h"}, "BACKEND": "redis"},
        {"LOCATION": [{"url": "redis://:hidden@h"}], "BACKEND": "redis"},
        {"BACKEND": ["redis://:hidden@h"]},
        {"BACKEND": "redis://:hidden@h"},
        {"BACKEND": "u:hidden@h"},
        {"BACKEND": "hidden@h"},
        {"BACKEND": "memory", "SERIALIZER": "hidden@h.x"},
        {"BACKEND": "redis://hidden@h:6379/0", "LOCATION": "x"},
        {"BACKEND": "memory", "KEY_FUNCTION": "redis://:hidden@h.x"},
        {"BACKEND": "memory", "KEY_FUNCTION": {"password": "hidden"}},
        "redis://u@h:x?hidden@h2",
        "redis://:hidden\n@h",
        {"BACKEND": "memory", "OPTIONS": "redis://:hidden@h?token=hidden"},
        {"BACKEND": "memory", "OPTIONS": [("password", "hidden")]},
        {"BACKEND": "memory", "OPTIONS": {1: "hidden"}},
    ],
)
def test_an_entry_of_the_wrong_shape_is_not_shown_whole(entry):
    """What stands where something else belongs may hold a password, and is not printed."""
    assert "hidden" not in refused(entry)
    with pytest.raises(SettingsError) as caught:
        read_caches([entry])
    assert "hidden" not in str(caught.value)


@pytest.fixture
def short_names(monkeypatch):
    """Let the short names be these, whatever is installed."""
    names = {"store": f"{__name__}:Store", "memory": f"{__name__}:Closed", "bad": "no_such:X"}
    monkeypatch.setattr(settings, "_short_names", lambda: names)


@pytest.mark.parametrize("name", ["store", f"{__name__}.Store", f"{__name__}:Store"])
@pytest.mark.usefixtures("short_names")
def test_a_backend_is_found_by_its_names(name):
    """A short name and both forms of a dotted path lead to the class."""
    assert backend_class(CacheConfig("x", name)) is Store


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stroe", "no backend 'stroe'; did you mean 'store'? There are: bad, memory, store"),
        ("Memory", "did you mean 'memory'?"),
        ("kafka", "no backend 'kafka'. There are: bad, memory, store"),
        ("bad", "there is no module 'no_such'"),
        (f"{__name__}.Stroe", "there is no 'Stroe' in " + __name__ + "; did you mean 'Store'?"),
        (f"{__name__}.make_key", "is no subclass of twofold.backend.Backend"),
        ("builtins.dict", "is no subclass of twofold.backend.Backend"),
        ("twofold.backendz.X", "there is no module 'twofold.backendz'"),
        (".relative", "is no dotted path"),
        ("module:", "is no dotted path"),
    ],
)
@pytest.mark.usefixtures("short_names")
def test_a_wrong_backend_is_refused(name, message):
    """The message names the alias and the nearest right name."""
    with pytest.raises(SettingsError) as caught:
        backend_class(CacheConfig("shop", name))
    assert str(caught.value).startswith("CACHES['shop']['BACKEND']: ")
    assert message in str(caught.value)


def test_a_missing_driver_names_what_to_install(tmp_path, monkeypatch):
    """A backend whose driver is not there tells the extra, or the package, to install."""
    (tmp_path / "needs_driver.py").write_text("import no_such_driver\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"pip install no_such_driver(\n|$)") as caught:
        backend_class(CacheConfig("x", "needs_driver.Store"))
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    monkeypatch.setitem(sys.modules, "twofold.backends.carrier", None)
    monkeypatch.setattr(settings, "_short_names", lambda: {"pigeon": "needs_driver:Store"})
    with pytest.raises(SettingsError, match="'pigeon' cannot be used"):
        backend_class(CacheConfig("x", "pigeon"))
    error = ImportError("no redis", name="redis")
    message = settings._missing_driver("redis", "twofold.backends.redis:RedisBackend", error)
    assert message.endswith("pip install '.[redis]'")


def test_the_installed_backends_have_short_names():
    """The backends of the package are registered, and are known without that too."""
    registered = {each.name: each.value for each in entry_points(group=settings.ENTRY_POINTS)}
    assert settings._OURS.items() <= registered.items()
    assert settings._OURS.items() <= settings._short_names().items()


def test_nobody_takes_the_name_of_one_of_our_backends(monkeypatch):
    """Other packages add short names, and replace none."""
    theirs = EntryPoint("memory", "theirs:Store", settings.ENTRY_POINTS)
    other = EntryPoint("other", "theirs:Store", settings.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [theirs, other])
    known = settings._short_names.__wrapped__()
    assert known == {**settings._OURS, "other": "theirs:Store"}


def test_options_are_split_between_cache_and_backend():
    """Common options go to the cache, others to the constructor, in any letter case."""
    options = {"SIZE": 5, "Deadline": 2, "colour": "blue", "ON_ERROR": "miss", "clear": "flush"}
    common, own = split_options(CacheConfig("x", "b", options=options), Store)
    assert common == {
        "blocking_calls": "allow",
        "on_error": "miss",
        "clear": "flush",
        "on_unserializable": "return",
    }
    assert own == {"size": 5, "deadline": 2, "Colour": "blue"}


def test_common_options_have_their_defaults():
    """Without options, nothing is swallowed and clear() keeps to the prefix."""
    common, own = split_options(CacheConfig("x", "b"), Store)
    assert common == {
        "blocking_calls": "allow",
        "on_error": "raise",
        "clear": "prefix",
        "on_unserializable": "return",
    }
    assert own == {}


def test_a_store_that_blocks_nobody_has_no_guard_unless_asked_for():
    """Others refuse sync calls in a loop; what is given holds for all."""
    for store, given, meant in (
        (Store, {}, "allow"),
        (Store, {"blocking_calls": "raise"}, "raise"),
        (SQLiteBackend, {}, "raise"),
        (SQLiteBackend, {"blocking_calls": "allow"}, "allow"),
    ):
        common, _ = split_options(CacheConfig("x", "b", options=given), store)
        assert common["blocking_calls"] == meant


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        (Store, {"sizes": 1}, "no option 'sizes'; did you mean 'size'?"),
        (
            Store,
            {"zzz": 1},
            "There are: Colour, blocking_calls, clear, context, deadline, numbers, on_error,"
            " on_unserializable, size",
        ),
        (Store, {"clock": 1}, "no option 'clock'"),
        (Store, {"location": 1}, "no option 'location'"),
        (Closed, {"deadline": 1}, "no option 'deadline'"),
        (Store, {"size": 1, "SIZE": 2}, "'size' is given twice"),
        (Store, {"clear": "flsh"}, "is one of prefix, flush, not 'flsh'; did you mean 'flush'?"),
        (Store, {"on_error": True}, "is one of raise, miss, not True"),
        (Store, {"blocking_calls": ["warn"]}, "is one of raise, warn, allow"),
    ],
)
def test_a_wrong_option_is_refused(backend, options, message):
    """The message names the alias, the nearest right name and all right ones."""
    with pytest.raises(SettingsError) as caught:
        split_options(CacheConfig("shop", "b", options=options), backend)
    assert str(caught.value).startswith("CACHES['shop']['OPTIONS']: ")
    assert message in str(caught.value)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Work in an empty directory, with no settings anywhere."""
    for name in ("TWOFOLD_SETTINGS", "CACHE_URL", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "django.conf", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'app'\n")
    return tmp_path


def refused_discovery():
    """Return the message with which the settings that are found are refused."""
    with pytest.raises(SettingsError) as caught:
        discover()
    return str(caught.value)


@pytest.mark.usefixtures("nowhere")
def test_without_settings_there_is_one_memory_cache():
    """What nobody has configured works all the same."""
    assert discover() == {"default": CacheConfig("default", "memory")}


@pytest.mark.usefixtures("nowhere")
def test_a_removed_working_directory_does_not_matter(tmp_path, monkeypatch):
    """Where there is no directory there is no pyproject.toml."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert discover()["default"].backend == "memory"


def test_settings_from_the_nearest_pyproject(nowhere, monkeypatch):
    """`[tool.twofold.caches.*]` is found upwards, as far as the first pyproject.toml."""
    (nowhere / "pyproject.toml").write_text(
        """
        [tool.twofold.caches]
        small = "memory://s"
        [tool.twofold.caches.default]
        backend = "sqlite"
        location = "c.db"
        timeout = "none"
        [tool.twofold.caches.default.options]
        max_entries = 7
        """
    )
    inner = nowhere / "src" / "app"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert discover() == {
        "small": CacheConfig("small", "memory", "s"),
        "default": CacheConfig("default", "sqlite", "c.db", None, options={"max_entries": 7}),
    }
    (inner / "pyproject.toml").write_text("")
    assert discover() == {"default": CacheConfig("default", "memory")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.twofold.cache.default]", "no table 'cache'; did you mean 'caches'?"),
        (
            "[tool.twofold.caches]",
            "CACHES must be a dict such as {'default': 'memory://'}, not an empty",
        ),
        ("[tool.twofold.caches.default]\nbakend='x'", "did you mean 'BACKEND'?"),
        ("[tool.twofold]\ncaches = 7", "CACHES must be a dict such as"),
        ("[tool.twofold", "is no TOML"),
        ("# tool.twofold \udcff", "is no TOML: 'utf-8' codec"),
        ("\0".join("# tool.twofold"), "is no TOML"),
        (f"# tool.twofold\na = {'[' * 5000}", "is no TOML: maximum recursion depth"),
        ("tool.twofold = 7", "[tool.twofold] is a table with the table 'caches'"),
    ],
    ids=range(9),
)
def test_errors_in_pyproject_name_the_file(nowhere, text, message):
    """A mistake in pyproject.toml is told with the path of the file."""
    path = nowhere / "pyproject.toml"
    path.write_text(text, errors="surrogateescape")
    found = refused_discovery()
    assert found.startswith(f"{path}: ")
    assert message in found


def test_the_name_of_a_folder_is_shown_and_not_obeyed(nowhere, monkeypatch):
    """Whoever made a folder wrote its name: no error sends it to a terminal as it is."""
    folder = nowhere / "a\x1b[31m\u202e\n"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for text in ("[tool.twofold", "[tool.twofold.caches]\nx = 7", "[tool.twofold.cache]"):
        (folder / "pyproject.toml").write_text(text)
        assert refused_discovery().startswith(f"{nowhere}/a\\u001b[31m\\u202e\\n/pyproject.toml: ")


@pytest.mark.parametrize("text", ["[tool", "\udcff", f"a = {'[' * 5000}", "tool = 7", ""])
def test_a_damaged_pyproject_of_others_does_not_matter(nowhere, text):
    """A file that says nothing of twofold, and may be no TOML, keeps nothing from working."""
    (nowhere / "pyproject.toml").write_text(text, errors="surrogateescape")
    assert discover()["default"].backend == "memory"


def test_a_damaged_pyproject_is_passed_over(nowhere, monkeypatch, caplog):
    """The settings are looked for above it, and the log says why."""
    (nowhere / "pyproject.toml").write_text(DUMMY)
    inner = nowhere / "src"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool")
    monkeypatch.chdir(inner)
    with caplog.at_level("INFO", "twofold"):
        assert discover()["default"].backend == "dummy"
    assert f"passed over {inner}/pyproject.toml: the file is no TOML" in caplog.text


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)])
def test_a_pyproject_that_is_no_file_is_none(nowhere, make):
    """A folder, a pipe or a link to itself of that name neither waits nor fails."""
    (nowhere / "pyproject.toml").unlink()
    make(nowhere / "pyproject.toml")
    assert discover()["default"].backend == "memory"


DUMMY = "[tool.twofold.caches]\ndefault = 'dummy://'"


def give_away(path, monkeypatch):
    """Let a file belong to another user, or this process to another user than its files."""
    if os.geteuid() == 0:
        os.chown(path, 12001, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.lstat().st_uid + 1)
    return path


def assert_passed_over(path, why, caplog):
    """Assert that a file has no say, and that one warning names it, the reason and the remedy."""
    with caplog.at_level("WARNING", "twofold"):
        assert discover()["default"].backend == "memory"
        assert discover()["default"].backend == "memory"
    [message] = caplog.messages
    assert message.startswith(f"passed over {path}: {why}")
    assert message.endswith(f"TWOFOLD_SETTINGS={path}")


def test_a_pyproject_of_another_user_is_passed_over(nowhere, monkeypatch, caplog):
    """Whoever may write above the working directory does not configure this program."""
    path = nowhere / "pyproject.toml"
    path.write_text(DUMMY)
    give_away(path, monkeypatch)
    assert_passed_over(path, "it belongs to user ", caplog)
    monkeypatch.setenv("TWOFOLD_SETTINGS", str(path))
    assert discover()["default"].backend == "dummy"


def test_a_pyproject_of_another_user_without_settings_is_not_told_of(nowhere, monkeypatch, caplog):
    """Where twofold is not spoken of, there is nothing to warn of."""
    (nowhere / "pyproject.toml").write_text("[project]\ndependencies = ['twofold']\n")
    give_away(nowhere / "pyproject.toml", monkeypatch)
    with caplog.at_level("WARNING", "twofold"):
        assert discover()["default"].backend == "memory"
    assert not caplog.messages


@pytest.mark.parametrize(
    ("where", "mode", "why"),
    [
        ("pyproject.toml", 0o666, "everybody may write it"),
        ("", 0o777, "everybody may write its folder"),
        ("", 0o1777, "everybody may write its folder"),
    ],
)
def test_a_pyproject_that_everybody_may_write_is_passed_over(nowhere, caplog, where, mode, why):
    """Neither the file nor its folder is open to all; a sticky folder is."""
    path = nowhere / "pyproject.toml"
    path.write_text(DUMMY)
    assert discover()["default"].backend == "dummy"
    (nowhere / where).chmod(mode)
    assert_passed_over(path, why, caplog)
    (nowhere / where).chmod(0o700)


def test_a_link_is_judged_with_the_file_that_it_leads_to(nowhere, monkeypatch, caplog):
    """Both the link and the real file must be to be trusted, and the folders of both."""
    path, target = nowhere / "pyproject.toml", nowhere / "there" / "x.toml"
    path.unlink()
    target.parent.mkdir()
    target.write_text(DUMMY)
    path.symlink_to(target)
    assert discover()["default"].backend == "dummy"
    target.parent.chmod(0o777)
    assert_passed_over(path, "everybody may write its folder", caplog)
    target.parent.chmod(0o755)
    caplog.clear()
    give_away(path, monkeypatch)
    assert_passed_over(path, "it belongs to user ", caplog)


def test_under_sudo_the_caller_is_trusted(nowhere, monkeypatch):
    """As root, files of the user who called sudo count; for others the variable means nothing."""
    path = nowhere / "pyproject.toml"
    path.write_text(DUMMY)
    if os.geteuid() == 0:
        os.chown(path, 12001, -1)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert discover()["default"].backend == "memory"
    monkeypatch.setenv("SUDO_UID", str(owner))
    assert discover()["default"].backend == "dummy"
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert discover()["default"].backend == "memory"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for nobody in ("nobody", "", "-1", "9" * 5000, "\u0661"):
        monkeypatch.setenv("SUDO_UID", nobody)
        assert discover()["default"].backend == "memory"


def test_where_files_have_no_owners_all_are_read(nowhere, monkeypatch):
    """Without user ids, as on Windows, there is nothing to compare."""
    path = nowhere / "pyproject.toml"
    path.write_text(DUMMY)
    path.chmod(0o666)
    monkeypatch.delattr(os, "geteuid")
    assert discover()["default"].backend == "dummy"


def test_settings_beside_the_program_are_pointed_to(nowhere):
    """A program that is started somewhere else says that its settings are not used."""
    project = nowhere / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(DUMMY)
    (project / "app.py").write_text("from twofold import cache; print(cache.backend)")
    command = [sys.executable, str(project / "app.py")]
    there = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert ("Dummy" in there.stdout, there.stderr) == (True, "")
    elsewhere = subprocess.run(command, cwd=nowhere, capture_output=True, text=True, check=True)
    assert "MemoryBackend" in elsewhere.stdout
    assert elsewhere.stderr.endswith(f"or set TWOFOLD_SETTINGS={project}/pyproject.toml\n")
    assert elsewhere.stderr.count("\n") == 1


SAID = """
import logging
logging.basicConfig(level="INFO", format="%(levelname)s:%(name)s:%(message)s")
from twofold import caches
for _ in range(2):
    len(caches)
    try:
        caches["pages"]
    except ValueError as error:
        print(error)
    caches.configure()
"""


def test_where_settings_were_found_is_said(nowhere):
    """Once in the log, and in the error for an alias that is not there; also that none were."""
    run = run_python(SAID, nowhere, CACHE_URL="memory://")
    assert run.stderr == "INFO:twofold:settings: CACHE_URL\n"
    assert run.stdout.splitlines()[0].endswith("which has 'default' (settings: CACHE_URL)")
    run = run_python(SAID, nowhere)
    assert run.stderr.startswith("INFO:twofold:settings: none found; one memory cache, which each ")
    assert run.stderr.count("\n") == 1
    assert "(settings: none found; one memory cache" in run.stdout
    with caches.override("memory://"), pytest.raises(SettingsError, match=r"from configure\(\)"):
        caches["pages"]


def test_settings_from_cache_url(nowhere, monkeypatch):
    """CACHE_URL is the default alias, and comes before pyproject.toml."""
    (nowhere / "pyproject.toml").write_text("[tool.twofold.caches.other]\nbackend='dummy'")
    monkeypatch.setenv("CACHE_URL", "sqlite:///c.db?timeout=60")
    assert discover() == {"default": CacheConfig("default", "sqlite", "c.db", 60.0)}
    monkeypatch.setenv("CACHE_URL", "redis://h:1,h:2?cluster=true&key_prefix=p")
    assert discover() == {
        "default": CacheConfig(
            "default", "redis", "redis://h:1,h:2", key_prefix="p", options={"cluster": True}
        )
    }
    monkeypatch.setenv("CACHE_URL", "c.db")
    assert refused_discovery().startswith("CACHE_URL: CACHES['default']: 'c.db' is no URL")
    monkeypatch.setenv("CACHE_URL", "")
    assert list(discover()) == ["other"]


def test_settings_from_a_module(nowhere, monkeypatch):
    """TWOFOLD_SETTINGS names a module with CACHES, and comes before all else."""
    (nowhere / "app_settings_one.py").write_text("CACHES = {'default': 'dummy://'}")
    monkeypatch.setenv("CACHE_URL", "memory://")
    monkeypatch.setenv("TWOFOLD_SETTINGS", "app_settings_one")
    assert discover() == {"default": CacheConfig("default", "dummy")}


@pytest.mark.parametrize("table", ["caches", "tool.twofold.caches"])
def test_settings_from_a_toml_file(nowhere, monkeypatch, table):
    """TWOFOLD_SETTINGS names a TOML file with the caches at its top, or as in pyproject.toml."""
    path = nowhere / "caches.toml"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(f"[{table}.default]\nBACKEND = 'dummy'\n", encoding)
        for value in (path, "caches.toml"):
            monkeypatch.setenv("TWOFOLD_SETTINGS", str(value))
            assert discover() == {"default": CacheConfig("default", "dummy")}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module", "cannot be imported: No module named 'no_such_module'"),
        ("no_such_module\r\n", "cannot be imported: No module named 'no_such_module'"),
        ("caches.yaml", "a TOML file must end in .toml"),
        (".relative", "cannot be imported"),
        ("app_settings_two", "the module has no CACHES; did you mean 'CACHE'?"),
        ("app_settings_three", "CACHES must be a dict such as"),
        ("app_settings_four", "CACHES['default']['VERSION']: "),
        ("missing.toml", "the file cannot be read"),
        ("broken.toml", "the file is no TOML"),
        ("wrong.toml", "no table [caches.default]; did you mean 'cache'?"),
        ("wrong2.toml", "no table 'cache'; did you mean 'caches'?"),
    ],
)
def test_errors_of_twofold_settings_name_the_variable(nowhere, monkeypatch, value, message):
    """What TWOFOLD_SETTINGS points to must be there and right."""
    (nowhere / "app_settings_two.py").write_text("CACHE = {}")
    (nowhere / "app_settings_three.py").write_text("CACHES = ['memory://']")
    (nowhere / "app_settings_four.py").write_text(
        "CACHES = {'default': {'BACKEND': 'memory', 'VERSION': 'x'}}"
    )
    (nowhere / "broken.toml").write_text("[caches")
    (nowhere / "wrong.toml").write_text("[cache.default]\nbackend = 'memory'")
    (nowhere / "wrong2.toml").write_text("[tool.twofold.cache.default]\nbackend = 'memory'")
    monkeypatch.setenv("TWOFOLD_SETTINGS", value)
    found = refused_discovery()
    assert found.startswith(f"TWOFOLD_SETTINGS={value.strip()}: ")
    assert message in found


@pytest.mark.usefixtures("nowhere")
def test_a_url_in_twofold_settings_is_not_shown(monkeypatch):
    """Whoever takes one variable for the other is told so, without the password."""
    monkeypatch.setenv("TWOFOLD_SETTINGS", "redis://:hidden@h")
    assert refused_discovery() == "TWOFOLD_SETTINGS is a URL: put it into CACHE_URL"


DJANGO_SETTINGS = """
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "fast": {"BACKEND": "twofold.backends.memory.MemoryBackend", "TIMEOUT": 60,
             "OPTIONS": {"MAX_ENTRIES": 5}},
}
"""
CONFIGURE = """
from django.conf import settings
from site_settings import CACHES
settings.configure(CACHES=CACHES)
"""
REPORT = """
import json
from twofold.settings import discover
print(json.dumps({a: [c.backend, c.timeout, c.options] for a, c in discover().items()}))
"""
FAST = {"fast": ["twofold.backends.memory.MemoryBackend", 60.0, {"MAX_ENTRIES": 5}]}
MEMORY = {"default": ["memory", 300.0, {}]}


def run_python(code, folder, **environment):
    """Run `code` in a process of its own, in `folder`."""
    dropped = ("TWOFOLD_SETTINGS", "CACHE_URL", "DJANGO_SETTINGS_MODULE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    path = os.pathsep.join([str(folder), *filter(None, [kept.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("prelude", "environment", "found"),
    [
        ("", {"DJANGO_SETTINGS_MODULE": "site_settings"}, FAST),
        ("", {"DJANGO_SETTINGS_MODULE": "site_settings", "CACHE_URL": "dummy://"}, FAST),
        (CONFIGURE, {}, FAST),
        ("import django.conf", {}, MEMORY),
        ("", {"DJANGO_SETTINGS_MODULE": "other_settings"}, MEMORY),
        (
            "",
            {"DJANGO_SETTINGS_MODULE": "other_settings", "CACHE_URL": "dummy://"},
            {"default": ["dummy", 300.0, {}]},
        ),
        (
            "import sys; sys.modules['django'] = None",
            {"DJANGO_SETTINGS_MODULE": "site_settings"},
            MEMORY,
        ),
    ],
)
def test_settings_from_django(tmp_path, prelude, environment, found):
    """Django's entries that name a twofold backend are ours, if Django is in use at all."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "site_settings.py").write_text(DJANGO_SETTINGS)
    (tmp_path / "other_settings.py").write_text("")
    run = run_python(prelude + REPORT, tmp_path, **environment)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == found


def test_twofold_settings_come_before_djangos(tmp_path):
    """Who sets TWOFOLD_SETTINGS means it, also where Django is configured."""
    (tmp_path / "site_settings.py").write_text(DJANGO_SETTINGS)
    (tmp_path / "own.toml").write_text("[caches]\ndefault = 'dummy://'")
    run = run_python(
        REPORT, tmp_path, DJANGO_SETTINGS_MODULE="site_settings", TWOFOLD_SETTINGS="own.toml"
    )
    assert json.loads(run.stdout) == {"default": ["dummy", 300.0, {}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "CACHES = {'default': {'BACKEND': 'twofold.backends.dummy.X', 'TIMOUT': 1}}",
            "Django's settings: CACHES['default']: there is no setting 'TIMOUT'; did you mean",
        ),
        (
            "CACHES = {'default': {'BACKEND': 'twofold.contrib.django.RedisCache', 'LOCATIO': 1}}",
            "Django's settings: CACHES['default']: LOCATIO: there is no setting 'LOCATIO'",
        ),
        ("import no_such_module", "Django's settings: they cannot be read: No module named"),
        ("raise AttributeError", "Django's settings: they cannot be read: AttributeError()"),
    ],
)
def test_errors_in_djangos_settings_say_so(tmp_path, text, message):
    """A mistake in Django's settings is told as one."""
    (tmp_path / "site_settings.py").write_text(text)
    run = run_python(REPORT, tmp_path, DJANGO_SETTINGS_MODULE="site_settings")
    assert f"twofold.errors.SettingsError: {message}" in run.stderr


OVERRIDE = """
import sys
from django.conf import settings
from django.test import override_settings
from site_settings import LOCMEM, OURS
settings.configure(SECRET_KEY="x", CACHES=LOCMEM if "locmem" in sys.argv else OURS)
import twofold
from twofold import cache, cached
@cached
def f(): return 1
f()
cache.set("k", "outer")
def seen(): return type(cache.backend).__name__, cache.get("k"), f.get()
for other in (OURS, {"default": {"BACKEND": "twofold.backends.dummy.DummyBackend"}}):
    with override_settings(CACHES=other):
        print(*seen())
    print(*seen())
twofold.configure("memory://given")
with override_settings(CACHES=OURS):
    print(cache.backend.location)
"""
SITES = """
LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
OURS = {"default": {"BACKEND": "twofold.backends.memory.MemoryBackend", "LOCATION": "ours"}}
"""


@pytest.mark.parametrize(("argument", "kept"), [("ours", "outer 1"), ("locmem", "None None")])
def test_replaced_settings_of_django_are_followed(tmp_path, argument, kept):
    """`override_settings(CACHES=…)` reaches `twofold.cache` and `@cached`, and ends with them."""
    (tmp_path / "site_settings.py").write_text(SITES)
    (tmp_path / "run.py").write_text(OVERRIDE)
    run = run_python(f"import sys; sys.argv.append({argument!r}); import run", tmp_path)
    assert run.stdout.splitlines() == [
        f"MemoryBackend {kept}",
        "MemoryBackend outer 1",
        "DummyBackend None None",
        "MemoryBackend outer 1",
        "given",
    ], run.stderr


def test_django_is_not_imported_for_its_own_sake(tmp_path):
    """Without Django in use, looking for settings does not import it."""
    (tmp_path / "pyproject.toml").write_text("")
    code = REPORT + "import sys; print('django' in sys.modules)"
    assert run_python(code, tmp_path).stdout.endswith("\nFalse\n")


def test_half_of_a_password_is_not_shown() -> None:
    """A "?" that cuts a password in two is refused, without a word of the password."""
    with pytest.raises(SettingsError, match="%3F") as refused:
        read_cache("default", "redis://:hide?secret@host")
    assert "hide" not in str(refused.value)
    assert "secret" not in str(refused.value)
