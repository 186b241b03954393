"""Memcached: the parts that do no I/O of their own, each against its specification."""

import random
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import counter
from twofold.backends.memcached import MemcachedBackend, commands, results, stored
from twofold.backends.memcached.addresses import Location, NodeAddress, read_location
from twofold.backends.memcached.deployment import Weights, read_router
from twofold.backends.memcached.replies import MEMCACHED, Item, Lasting, Reader, fits, join
from twofold.backends.memcached.router import Router
from twofold.backends.network import (
    INCOMPLETE,
    ConnectionLost,
    ProtocolError,
    Refused,
    ReplyError,
)
from twofold.backends.network.replies import mismatch
from twofold.errors import (
    BackendUnavailable,
    InvalidKey,
    MissingKey,
    PartlyUnavailable,
    SettingsError,
)
from twofold.keys import KeyMaker, normalise

# Addresses

HERE = NodeAddress("127.0.0.1", 11211)
H = NodeAddress("h", 11211)


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("", [HERE]),
        ([""], [HERE]),
        ("memcached://", [HERE]),
        ("memcached:///", [HERE]),
        ("h", [H]),
        ("H", [H]),
        (" h ", [H]),
        ("h:11211", [H]),
        ("h:7", [NodeAddress("h", 7)]),
        ("[::1]", [NodeAddress("::1", 11211)]),
        ("[::1]:1", [NodeAddress("::1", 1)]),
        ("unix:/p", [NodeAddress(path="/p")]),
        ("unix:///p", [NodeAddress(path="/p")]),
        ("unix:/run/a%20b.sock", [NodeAddress(path="/run/a b.sock")]),
        ("/p", [NodeAddress(path="/p")]),
        ("/run/A%40b.sock", [NodeAddress(path="/run/A@b.sock")]),
        ("memcached:///p", [NodeAddress(path="/p")]),
        ("memcached://h", [H]),
        ("memcached://h/", [H]),
        ("MEMCACHED://h:7/", [NodeAddress("h", 7)]),
        ("memcached://[::1]:1", [NodeAddress("::1", 1)]),
        ("a,b:2", [NodeAddress("a", 11211), NodeAddress("b", 2)]),
        ("a;b", [NodeAddress("a", 11211), NodeAddress("b", 11211)]),
        ("a, b ;", [NodeAddress("a", 11211), NodeAddress("b", 11211)]),
        (
            "memcached://h1,h2;h3",
            [NodeAddress("h1", 11211), NodeAddress("h2", 11211), NodeAddress("h3", 11211)],
        ),
        ("memcached://a,memcached://b", [NodeAddress("a", 11211), NodeAddress("b", 11211)]),
        (["a", "b:2"], [NodeAddress("a", 11211), NodeAddress("b", 2)]),
        (["memcached://a", "b;c"], [NodeAddress(each, 11211) for each in "abc"]),
        (["h", "/p"], [H, NodeAddress(path="/p")]),
        (["[::1]", "[::2]:7"], [NodeAddress("::1", 11211), NodeAddress("::2", 7)]),
    ],
)
def test_a_location_names_servers(location: str | list[str], found: list[NodeAddress]) -> None:
    """Hosts, paths and URLs, alone, in lists or several in one text, say where servers are."""
    assert read_location(location) == Location(found)


@pytest.mark.parametrize(
    ("location", "login", "found"),
    [
        ("memcached://u:pw@h", ("u", "pw"), [H]),
        ("Memcached://u:pw@h:7,b", ("u", "pw"), [NodeAddress("h", 7), NodeAddress("b", 11211)]),
        ("memcached://u:pw@", ("u", "pw"), [HERE]),
        ("memcached://u:pw@/p", ("u", "pw"), [NodeAddress(path="/p")]),
        ("memcached://%75%2Cx:p%3A%2F%3F%23%5B%40%25+@h", ("u,x", "p:/?#[@%+"), [H]),
        ("memcached://u:p,w;?#[@h", ("u", "p,w;?#["), [H]),
        (
            ["memcached://u:pw@a", "b"],
            ("u", "pw"),
            [NodeAddress("a", 11211), NodeAddress("b", 11211)],
        ),
        ("memcached://u:@h", ("u", ""), [H]),
    ],
)
def test_a_login_stands_before_the_first_host(
    location: str | list[str], login: tuple[str, str], found: list[NodeAddress]
) -> None:
    """It is percent-encoded where it must be, and is for all servers."""
    assert read_location(location) == Location(found, *login)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://h", "is no memcached server: write host[:port]"),
        ("redis://h", "is no memcached server: write host[:port]"),
        (["h", "redis://h"], "LOCATION 'redis://h' is no memcached server"),
        ("h:0", "has no port '0': write host[:port], unix:/path or memcached://"),
        ("h:65536", "has no port '65536'"),
        ("h:x", "has no port 'x'"),
        ("h:1:2", "has no port '1:2'"),
        ("::1", "has no port ':1'"),
        ("memcached:h", "has no port 'h'"),
        ("a,b:x", "LOCATION 'b:x' has no port 'x'"),
        ("[::1", "has no host '[::1'"),
        ("[::1]junk", "has no host '[::1]junk'"),
        (":1", "has no host"),
        ("memcached://:1", "has no host"),
        ("h1 h2", "has no host"),
        ("memcached://h/0", "has no host"),
        ("h/0", "has no host"),
        ("h?weights=1", "put the options behind '?' into OPTIONS"),
        ("memcached://h?deadline=2", "put the options behind '?' into OPTIONS"),
        ("unix:", "has no path of a socket: write unix:/path"),
        ("unix:run/m.sock", "has no path of a socket: write unix:/path"),
        ("unix:/", "has no path of a socket: write unix:/path"),
        ("unix://", "has no path of a socket: write unix:/path"),
        ("h,h", "LOCATION names the server h:11211 twice: leave one out"),
        ("h,H:11211", "LOCATION names the server h:11211 twice"),
        (["h", "memcached://h:11211/"], "LOCATION names the server h:11211 twice"),
        (["/p", "unix:///p"], "LOCATION names the server /p twice"),
        ("[::1],[::1]:11211", "LOCATION names the server [::1]:11211 twice"),
        (",", "LOCATION names no server: write host[:port]"),
        (["", ""], "LOCATION names no server"),
        ([], "LOCATION names no server"),
    ],
)
def test_a_location_that_names_no_server_is_refused(
    location: str | list[str], message: str
) -> None:
    """The error names the setting and the part that is wrong, and says what to write."""
    with pytest.raises(SettingsError) as caught:
        read_location(location)
    assert str(caught.value).startswith("LOCATION ")
    assert message in str(caught.value)


LOGIN = "a login is memcached://user:password@host"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("u:hidden@h", LOGIN),
        ("u:hid/den@h", LOGIN),
        ("u:hid@den@h", LOGIN),
        ("redis://u:hidden@h", LOGIN),
        ("memcached://:hidden@h", LOGIN),
        ("memcached://u:hid@den@h", LOGIN),
        ("memcached://u:hid/den@h", LOGIN),
        ("memcached://u/x:hidden@h", LOGIN),
        ("memcached://h1,u:hidden@h2", LOGIN),
        ("memcached://h1;u:hidden@h2", LOGIN),
        ("h1,memcached://u:hidden@h2", LOGIN),
        ("memcached://u:hid@a,u:den@b", LOGIN),
        (["memcached://u:hid@a", "memcached://u:den@b"], "a login is the same for all servers"),
        (["a", "memcached://u:hidden@b"], "put it into the first URL, or into OPTIONS['username']"),
        (["a", "u:hid@den@b"], "a login is the same for all servers"),
        ("memcached://u:hidden@h:x", "LOCATION 'h:x' has no port 'x'"),
        ("memcached://u:hidden@h?den=1", "put the options behind '?' into OPTIONS"),
        ("memcached://u:hidden@h,h", "names the server h:11211 twice"),
        ("memcached://u:hidden@redis://h", "is no memcached server"),
    ],
)
def test_no_password_is_shown(location: str | list[str], message: str) -> None:
    """Neither the error nor what it was raised from quotes a password, or a half of one."""
    with pytest.raises(SettingsError) as caught:
        read_location(location)
    assert message in str(caught.value)
    told = "".join(traceback.format_exception_only(caught.value)).replace("?den=", "")
    assert "hid" not in told
    assert "den" not in told
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (NodeAddress("h", 1), "h:1"),
        (NodeAddress("::1", 1), "[::1]:1"),
        (NodeAddress(path="/m.sock"), "/m.sock"),
    ],
)
def test_a_server_has_a_name(address: NodeAddress, name: str) -> None:
    """Messages and statistics call a server by its host and port, or its path."""
    assert address.name == name


# Options

CA = {"ssl_ca_certs": __file__}


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("a,b", {"weights": [1]}, "OPTIONS['weights'] has a number more than 0 for each of the 2"),
        ("a,b", {"weights": [1, 2, 3]}, "for each of the 2 servers in LOCATION, in their order"),
        ("a,b", {"weights": []}, "not a list"),
        ("a,b", {"weights": ""}, "not ''"),
        ("a,b", {"weights": "1,x"}, "not '1,x'"),
        ("a,b", {"weights": "1;2"}, "not '1;2'"),
        ("a,b", {"weights": "1,"}, "not '1,'"),
        ("a,b", {"weights": [1, 0]}, "not a list"),
        ("a,b", {"weights": [1, -1.5]}, "not a list"),
        ("a,b", {"weights": [1, float("inf")]}, "not a list"),
        ("a,b", {"weights": "1,nan"}, "not '1,nan'"),
        ("a,b", {"weights": [True, 1]}, "not a list"),
        ("a,b", {"weights": [None, 1]}, "not a list"),
        ("a,b", {"weights": 2}, "not 2"),
        ("h", {"username": "u"}, "'username'] and OPTIONS['password'] go together: give both"),
        ("h", {"password": "hidden"}, "OPTIONS['password'] go together: give both"),
        ("h", {"username": "", "password": "hidden"}, "go together: give both"),
        ("memcached://u:@h", {}, "OPTIONS['password'] go together: give both"),
        ("h", {"username": 7, "password": "hidden"}, "OPTIONS['username'] is text, not a int"),
        ("h", {"username": "u", "password": b"hidden"}, "OPTIONS['password'] is text, not a bytes"),
        (
            "memcached://u:hidden@h",
            {"username": "u", "password": "hidden"},
            "a login is both in LOCATION and in OPTIONS: leave one out",
        ),
        ("memcached://u:hidden@h", {"username": "v"}, "leave one out"),
        ("h", {"username": "u", "password": "hid den"}, "has no blank, no ':', no newline"),
        ("h", {"username": "u", "password": "hid:den"}, "has no blank, no ':', no newline"),
        ("h", {"username": "u\r\n", "password": "hidden"}, "has no blank, no ':', no newline"),
        ("h", {"username": "u", "password": "hidden\0"}, "has no blank, no ':', no newline"),
        ("memcached://u:hid%0d%0aden@h", {}, "has no blank, no ':', no newline"),
        ("memcached://u:hid:den@h", {}, "has no blank, no ':', no newline"),
        ("h", {"tls": "yes"}, "OPTIONS['tls'] is True or False, not 'yes'"),
        ("h", CA, "OPTIONS['ssl_ca_certs'] is for TLS: set OPTIONS['tls'] to True"),
        ("h", {"ssl_cert_reqs": "none"}, "OPTIONS['ssl_cert_reqs'] is for TLS"),
        ("h", {"ssl_check_hostname": False}, "OPTIONS['ssl_check_hostname'] is for TLS"),
        ("h", {"tls": True, "ssl_cert_reqs": "maybe"}, "'required' or 'none', not 'maybe'"),
        ("h", {"tls": True, "ssl_check_hostname": 1}, "is True or False, not 1"),
        ("h", {"tls": True, "ssl_ca_certs": 3}, "'ssl_ca_certs'] is the path of a file, not 3"),
        ("h", {"tls": True, "ssl_keyfile": "/no"}, "['ssl_keyfile']: there is no file '/no'"),
        ("h", {"tls": True, **CA}, "OPTIONS['ssl_ca_certs'], ['ssl_certfile'] or ['ssl_keyfile']"),
        (
            "h",
            {"tls": True, "ssl_certfile": __file__},
            "['ssl_certfile'] or ['ssl_keyfile'] cannot",
        ),
        ("/m.sock", {"tls": True}, "OPTIONS['tls'] and the socket /m.sock do not go together"),
        ("h,unix:/m.sock", {"tls": True}, "OPTIONS['tls'] and the socket /m.sock do not go"),
        ("h", {"deadline": 0}, "OPTIONS['deadline'] is the seconds"),
        ("h", {"deadline": float("nan")}, "not nan"),
    ],
)
def test_options_that_cannot_be_are_refused(
    location: str, options: dict[str, Any], message: str
) -> None:
    """What would have no effect, or contradicts another setting, is no setting."""
    with pytest.raises(SettingsError) as caught:
        MemcachedBackend(location, **options)
    assert message in str(caught.value)
    assert "hid" not in str(caught.value)
    assert "den" not in str(caught.value)


@pytest.mark.parametrize(
    "weights", ["2,1", " 2 , 1 ", "2.0,1e0", [2, 1], (2.0, 1.0), ["2", "1"], "4,2"]
)
def test_weights_are_numbers_or_text(weights: Any) -> None:
    """However they are written, only the proportion counts."""
    router, other = routed("cache1,cache2", weights), routed("cache1,cache2", [2.0, 1.0])
    assert [router.place(key).name for key in KEYS] == [other.place(key).name for key in KEYS]


# The router


def routed(location: str | list[str], weights: Weights = None) -> Router:
    """Return the router for a location."""
    return read_router(
        location,
        weights=weights,
        username=None,
        password=None,
        tls=False,
        tls_options={},
        deadline=1.0,
    )


def names(router: Router) -> list[str]:
    """Return the names of the servers that have the sample keys."""
    return [router.place(key).name for key in KEYS]


VECTORS = {
    # key: its server of three, of three with the weights 1, 2 and 3, and of a list of all kinds
    ":1:k": ("cache1", "cache1", "/run/m.sock"),
    "shop:1:k": ("cache1", "cache1", "/run/m.sock"),
    "shop:2:k": ("cache3", "cache3", "10.0.0.1:11211"),
    "shop:1:user:1": ("cache2", "cache3", "/run/m.sock"),
    "shop:1:user:2": ("cache2", "cache2", "10.0.0.1:11211"),
    "shop:1:user:3": ("cache2", "cache2", "[::1]:11212"),
    "shop:1:user:4": ("cache2", "cache2", "/run/m.sock"),
    "a": ("cache1", "cache3", "[::1]:11212"),
    "b": ("cache3", "cache3", "[::1]:11212"),
    "c": ("cache2", "cache2", "[::1]:11212"),
    "~": ("cache3", "cache3", "10.0.0.1:11211"),
    "!": ("cache3", "cache3", "[::1]:11212"),
    "get": ("cache2", "cache2", "[::1]:11212"),
    ":1:!": ("cache2", "cache2", "[::1]:11212"),
    "k" * 250: ("cache1", "cache1", "/run/m.sock"),
    normalise("shop:1:two words"): ("cache2", "cache2", "10.0.0.1:11211"),
    normalise("shop:1:grüße"): ("cache2", "cache2", "10.0.0.1:11211"),
    normalise("shop:1:" + "x" * 300): ("cache1", "cache1", "10.0.0.1:11211"),
    "shop!claim:shop:1:user:1": ("cache2", "cache3", "/run/m.sock"),
    "shop!claim:shop:1:user:2": ("cache2", "cache2", "10.0.0.1:11211"),
    "shop!lock:report": ("cache3", "cache3", "/run/m.sock"),
}


def test_keys_are_where_they_have_always_been() -> None:
    """Another version of this package must find what an older one has stored."""
    equal = routed("cache1,cache2,cache3")
    weighted = routed("cache1,cache2,cache3", "1,2,3")
    mixed = routed(["10.0.0.1", "[::1]:11212", "unix:/run/m.sock"])
    found = {
        key: (
            equal.place(key).name.removesuffix(":11211"),
            weighted.place(key).name.removesuffix(":11211"),
            mixed.place(key).name,
        )
        for key in VECTORS
    }
    assert found == VECTORS


KEYS = [normalise(f"shop:1:user:{n}") for n in range(10_000)]
SERVERS = [f"cache{n}" for n in range(1, 6)]


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [1, 2, 3, 4, 5], [0.5, 0.5, 8, 0.5, 0.5]])
def test_each_server_has_its_share(weights: list[float]) -> None:
    """Of 10,000 keys each server has as many as its weight says, give or take 1 % of all."""
    placed = names(routed(SERVERS, weights))
    for server, weight in zip(SERVERS, weights, strict=True):
        share = placed.count(f"{server}:11211") / len(KEYS)
        assert share == pytest.approx(weight / sum(weights), abs=0.01)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [1, 2, 3, 4, 5]])
def test_only_the_keys_of_a_server_that_left_move(weights: list[float]) -> None:
    """Whichever server goes, or comes, no key moves between two others."""
    before = names(routed(SERVERS, weights))
    for n, gone in enumerate(SERVERS):
        rest, shares = SERVERS[:n] + SERVERS[n + 1 :], weights[:n] + weights[n + 1 :]
        after = names(routed(rest, shares))
        moved = {old for old, new in zip(before, after, strict=True) if old != new}
        assert moved == {f"{gone}:11211"}
        assert len({new for old, new in zip(before, after, strict=True) if old != new}) == 4


def test_the_order_of_the_servers_does_not_matter() -> None:
    """Nor does how they are written: a server is its name."""
    before = names(routed(SERVERS, [1, 2, 3, 4, 5]))
    shuffled = [f"memcached://{server.upper()}:11211" for server in reversed(SERVERS)]
    assert names(routed(shuffled, [5, 4, 3, 2, 1])) == before


def test_a_heavier_server_takes_keys_and_gives_none() -> None:
    """A new weight moves keys to or from that server alone."""
    before = names(routed(SERVERS))
    after = names(routed(SERVERS, [1, 1, 2, 1, 1]))
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"cache3:11211"}


def test_a_lease_is_with_its_key() -> None:
    """A dead server takes no claim of a living one's key with it, whatever the prefix."""
    router = routed(SERVERS)
    for prefix in ("", "shop", "a.b-c"):
        maker = KeyMaker(prefix)
        for n in range(1000):
            key = maker(f"name {n}" if n % 2 else f"name:{n}!")
            assert router.place(maker.claim(key)) is router.place(key)


def test_no_breaker_moves_a_key() -> None:
    """A server that is down keeps its keys, in their first place and when asked again."""
    router, fresh = routed(SERVERS), routed(SERVERS)
    before = names(router)
    for each in (router, fresh):
        each.servers()[2].breaker.fail(OSError("down"), refused=True)
        assert each.servers()[2].breaker.tripped
        each.distrust()
        assert names(each) == before


def test_keys_are_split_by_server() -> None:
    """Each server with a key has one list, in the order of the keys; one without has none."""
    router = routed("cache1,cache2,cache3")
    parts = router.split(KEYS)
    assert len(parts) == 3
    for part in parts:
        [server] = {router.place(key) for key in part}
        assert part == [key for key in KEYS if router.place(key) is server]
    assert router.split(["a"]) == [["a"]]
    assert router.split([]) == []
    assert routed("cache1").split(["a", "b"]) == [["a", "b"]]
    assert routed("cache1").split([]) == []


# Commands

NOW = 1_700_000_000.75
MONTH = 30 * 86400
LAST = 2**31 - 1


@pytest.mark.parametrize(
    ("ttl", "expiry", "of_a_lock"),
    [
        (None, 0, 0),
        (1e-9, 1, 2),
        (0.1, 1, 2),
        (0.5, 1, 2),
        (1, 1, 2),
        (1.5, 2, 3),
        (2.0, 2, 3),
        (300, 300, 301),
        (MONTH - 1, MONTH - 1, MONTH),
        (MONTH - 0.5, MONTH, 1_700_000_000 + MONTH + 1),
        (MONTH, MONTH, 1_700_000_000 + MONTH + 1),
        (MONTH + 0.5, 1_700_000_000 + MONTH + 1, 1_700_000_000 + MONTH + 2),
        (MONTH + 1, 1_700_000_000 + MONTH + 1, 1_700_000_000 + MONTH + 2),
        (365 * 86400, 1_700_000_000 + 365 * 86400, 1_700_000_000 + 365 * 86400 + 1),
        (LAST - 1_700_000_000 - 1, LAST - 1, LAST),
        (LAST - 1_700_000_000, LAST, 0),
        (LAST - 1_700_000_000 + 1, 0, 0),
        (LAST, 0, 0),
        (2**31, 0, 0),
        (100 * 365 * 86400.0, 0, 0),
        (1e300, 0, 0),
    ],
)
def test_a_life_as_the_server_wants_it(ttl: float | None, expiry: int, of_a_lock: int) -> None:
    """Whole seconds, up to 30 days of them; then a time, up to 2038; then for ever."""
    assert commands.expiry("shop:1:k", ttl, NOW) == expiry
    for lock in ("shop!lock:k", "!lock:k", "shop!claim:shop:1:k"):
        assert commands.expiry(lock, ttl, NOW) == of_a_lock


@pytest.mark.parametrize(
    "key",
    ["", " ", "a b", "a\tb", "a\0", "a\n", "\x7f", "a\r\nflush_all", "k" * 251, "é", "k\u2028"],
)
@pytest.mark.parametrize(
    "command",
    [
        lambda key: commands.set(key, b"v", 0),
        lambda key: commands.add(key, b"v", 0),
        lambda key: commands.cas(key, b"v", 0, 1),
        lambda key: commands.cas_away(key, 1),
    ],
)
def test_no_value_goes_with_a_malformed_key(key: str, command: Callable[[str], Any]) -> None:
    """The server would refuse the line, and read the value as commands."""
    with pytest.raises(InvalidKey, match="is no key for memcached: give 1 to 250 printable ASCII"):
        command(key)


@pytest.mark.parametrize(
    ("command", "packed"),
    [
        (commands.get("k"), b"get k\r\n"),
        (commands.get_many(["k", "l"]), b"get k l\r\n"),
        (commands.gets("k"), b"gets k\r\n"),
        (commands.set("k", b"v\r\n", 5), b"set k 0 5 3\r\nv\r\n\r\n"),
        (commands.set("k" * 250, b"", 0), b"set " + b"k" * 250 + b" 0 0 0\r\n\r\n"),
        (commands.set("k", b"-1", 0), b"set k 0 0 20\r\n18446744073709551615\r\n"),
        (commands.add("k", b"v", 5), b"add k 0 5 1\r\nv\r\n"),
        (commands.cas("k", b"01", 5, 77), b"cas k 12045 5 3 77\r\n=01\r\n"),
        (commands.cas_away("k", 77), b"cas k 0 2592001 0 77\r\n\r\n"),
        (commands.touch("k", 5), b"mg k f c t T5\r\n"),
        (commands.delete("k"), b"delete k\r\n"),
        (commands.incr("k", 5), b"incr k 5\r\n"),
        (commands.incr("k", -5), b"incr k 18446744073709551611\r\n"),
        (commands.incr("k", 0), b"incr k 0\r\n"),
        (commands.incr("k", -(2**63)), b"incr k 9223372036854775808\r\n"),
        (commands.look("k"), b"mg k f c t\r\n"),
        (commands.look_inside("k"), b"mg k k f t v\r\n"),
    ],
)
def test_commands_as_the_protocol_has_them(command: commands.Command, packed: bytes) -> None:
    """None asks for no reply, and none has more than one."""
    assert command.packed == packed
    assert command.key.encode() in packed


@pytest.mark.parametrize(
    ("command", "is_bulk"),
    [
        (commands.set("k", b"v" * 60_000, 0), False),
        (commands.set("k", b"v" * 65_536, 0), True),
        (commands.add("k", b"v" * 65_536, 1), True),
        (commands.cas("k", b"v" * 65_536, 1, 2), True),
        (commands.get_many(["k"] * 31), False),
        (commands.get_many(["k"] * 32), True),
        (commands.get("k"), False),
    ],
)
def test_what_takes_long_to_pass_is_bulk(command: commands.Command, is_bulk: bool) -> None:
    """From 64 KB or 32 keys on a command goes where nothing small waits behind it."""
    assert command.bulk is is_bulk


def test_reads_alone_may_be_repeated() -> None:
    """Only commands that change nothing say so."""
    reads = [
        commands.get("k"),
        commands.get_many(["k", "l"]),
        commands.gets("k"),
        commands.look("k"),
        commands.look_inside("k"),
    ]
    writes = [
        commands.set("k", b"v", 0),
        commands.add("k", b"v", 0),
        commands.cas("k", b"v", 0, 1),
        commands.cas_away("k", 1),
        commands.touch("k", 0),
        commands.delete("k"),
        commands.incr("k", 0),
    ]
    assert all(each.reads for each in reads)
    assert not any(each.reads for each in writes)


# Values

NUMERIC = st.text(" +-0123456789\t\n\r\0ex.", max_size=24).map(str.encode)
COUNTERS = st.integers(counter.LOWEST, counter.HIGHEST)
MODERATE = st.integers(-(2**62), 2**62)


@given(st.one_of(st.binary(max_size=100), NUMERIC, COUNTERS.map(counter.write)))
def test_a_value_comes_back_as_it_was(value: bytes) -> None:
    """Whatever bytes were stored, and however much they look like a number to the server."""
    assert stored.read(*stored.write(value)) == value


@given(MODERATE, st.integers(0, 20))
def test_a_counter_is_what_the_server_can_add_to(number: int, blanks: int) -> None:
    """Digits of unsigned 64 bits, which come back signed, with or without blanks behind them."""
    flags, data = stored.write(counter.write(number))
    assert flags == 0
    assert data.isdigit()
    assert int(data) == number % 2**64
    assert stored.read(flags, data + b" " * blanks) == counter.write(number)
    assert stored.signed(int(data)) == number


@given(COUNTERS)
def test_the_server_adds_to_nothing_near_the_ends(number: int) -> None:
    """A counter that a sum could bring out of signed 64 bits is kept behind the mark."""
    flags, data = stored.write(counter.write(number))
    assert (flags == stored.MARKED) is (abs(number) > 2**62)
    assert stored.read(flags, data) == counter.write(number)


@given(MODERATE, COUNTERS)
def test_the_servers_sum_is_ours(number: int, delta: int) -> None:
    """Added in unsigned 64 bits, a sum is exact, or known to have left the signed range."""
    _, data = stored.write(counter.write(number))
    total = stored.signed((int(data) + delta % 2**64) % 2**64)
    fits = counter.LOWEST <= number + delta <= counter.HIGHEST
    assert results.is_overflow(total, delta) is not fits
    if fits:
        assert total == number + delta


@given(st.one_of(NUMERIC, st.binary(max_size=10)))
def test_the_server_takes_only_counters_for_numbers(value: bytes) -> None:
    """What is no counter is kept behind a mark if it begins as a number does to C."""
    flags, data = stored.write(value)
    if counter.read(value) is None:
        assert not data[:1].isdigit()
        assert not data[:1].isspace()
        assert data[:1] not in (b"+", b"-")
        assert (flags == stored.MARKED) is (data != value)


@pytest.mark.parametrize(
    ("flags", "data", "value"),
    [
        (0, b"5", b"5"),
        (0, b"5  ", b"5"),
        (0, b"0", b"0"),
        (0, b"007", b"7"),
        (0, b"9223372036854775807", b"9223372036854775807"),
        (0, b"9223372036854775808", b"-9223372036854775808"),
        (0, b"18446744073709551615", b"-1"),
        (0, b"18446744073709551616", b"18446744073709551616"),
        (0, b"1" * 21, b"1" * 21),
        (0, b"-5", b"-5"),
        (0, b"5 5", b"5 5"),
        (0, b" 5", b" 5"),
        (0, b"5\t", b"5\t"),
        (0, b"", b""),
        (0, b" ", b" "),
        (0, b"=5", b"=5"),
        (stored.MARKED, b"=5", b"5"),
        (stored.MARKED, b"= ", b" "),
        (1, b"v", b"v"),
        (2, b"5", b"5"),
    ],
)
def test_values_of_other_programs(flags: int, data: bytes, value: bytes) -> None:
    """Digits are a counter as the server counts, and all else is as it is."""
    assert stored.read(flags, data) == value


# Replies


def read(stream: bytes, *cuts: int) -> list[Any]:
    """Return the replies in a stream that comes in pieces; errors as their text."""
    reader, replies = Reader(), []
    for start, stop in zip((0, *cuts), (*cuts, len(stream)), strict=True):
        reader.feed(stream[start:stop])
        while (reply := reader.gets()) is not INCOMPLETE:
            assert type(reply) in (dict, list, bytes, ReplyError)
            replies.append(str(reply) if isinstance(reply, ReplyError) else reply)
    return replies


PROTOCOL_TEXT = b"\r\nEND\r\nVALUE other 0 1\r\nx\r\nEND\r\nSTORED\r\nERROR\r\nVALUE k 0 99\r\n"

STREAMS: list[tuple[bytes, list[Any]]] = [
    (b"", []),
    (b"END\r\n", [{}]),
    (b"VALUE k 0 1\r\nv\r\nEND\r\n", [{"k": b"v"}]),
    (b"VALUE k 0 0\r\n\r\nEND\r\n", [{"k": b""}]),
    (b"VALUE k 0 2\r\n\r\n\r\nEND\r\n", [{"k": b"\r\n"}]),
    (b"VALUE k 0 1\r\nv\r\nVALUE l 0 2\r\nww\r\nEND\r\n", [{"k": b"v", "l": b"ww"}]),
    (b"VALUE k 0 1 7\r\nv\r\nEND\r\n", [{"k": Item(b"v", 7)}]),
    (b"VALUE k 0 1 18446744073709551615\r\nv\r\nEND\r\n", [{"k": Item(b"v", 2**64 - 1)}]),
    (b"VALUE n 0 2\r\n9 \r\nEND\r\n", [{"n": b"9"}]),
    (b"VALUE n 0 20\r\n18446744073709551611\r\nEND\r\n", [{"n": b"-5"}]),
    (b"VALUE n 0 20 3\r\n18446744073709551611\r\nEND\r\n", [{"n": Item(b"-5", 3)}]),
    (b"VALUE n 12045 3\r\n=01\r\nEND\r\n", [{"n": b"01"}]),
    (b"VALUE n 4294967295 1\r\nv\r\nEND\r\n", [{"n": b"v"}]),
    (
        b"VALUE k 0 %d\r\n%b\r\nEND\r\n" % (len(PROTOCOL_TEXT), PROTOCOL_TEXT),
        [{"k": PROTOCOL_TEXT}],
    ),
    (b"STORED\r\nNOT_STORED\r\nEXISTS\r\n", [b"STORED", b"NOT_STORED", b"EXISTS"]),
    (b"DELETED\r\nNOT_FOUND\r\nTOUCHED\r\n", [b"DELETED", b"NOT_FOUND", b"TOUCHED"]),
    (b"18446744073709551615\r\n", [b"18446744073709551615"]),
    (b"HD t-1\r\nHD\r\nEN\r\n", [b"HD t-1", b"HD", b"EN"]),
    (b"VERSION 1.6.18\r\nOK\r\n", [b"VERSION 1.6.18", b"OK"]),
    (b"ERROR\r\nSTORED\r\n", ["ERROR", b"STORED"]),
    (b"CLIENT_ERROR bad\xff\r\n", ["CLIENT_ERROR bad\ufffd"]),
    (b"SERVER_ERROR out of memory\r\n", ["SERVER_ERROR out of memory"]),
    (b"VALUE k 0 1\r\nv\r\nSERVER_ERROR x\r\nEND\r\n", ["SERVER_ERROR x", {}]),
    (b"STAT a 1\r\nSTAT b x y\r\nEND\r\n", [[b"STAT a 1", b"STAT b x y"]]),
    (
        b"key=a%20b exp=-1 la=1 cas=2 fetch=no cls=1 size=9\nkey=c exp=5 cls=1\nEND\r\n",
        [[b"key=a%20b", b"key=c"]],
    ),
    (
        b"BUSY currently processing crawler request\r\n",
        [b"BUSY currently processing crawler request"],
    ),
    (b"END\r\nVALUE k 0 1\r\nv\r\nEND\r\n5\r\nEND\r\n", [{}, {"k": b"v"}, b"5", {}]),
    (
        b"VA 2 kk f0 t-1\r\n5 \r\nEN kl\r\nVA 3 km f12045 t30 W\r\n=01\r\nEN\r\n",
        [{"k": Lasting(b"5", -1)}, b"EN kl", {"m": Lasting(b"01", 30)}, b"EN"],
    ),
    (
        b"VA %d kk f0 t5\r\n%b\r\n" % (len(PROTOCOL_TEXT), PROTOCOL_TEXT),
        [{"k": Lasting(PROTOCOL_TEXT, 5)}],
    ),
    (b"VA 1\r\nVA x kk f0 t5\r\n", [b"VA 1", b"VA x kk f0 t5"]),
]


@pytest.mark.parametrize(("stream", "replies"), STREAMS)
def test_bytes_are_replies(stream: bytes, replies: list[Any]) -> None:
    """Each kind of reply is read as what it is, at once or byte by byte."""
    assert read(stream) == replies
    assert read(stream, *range(1, len(stream))) == replies


@given(st.lists(st.sampled_from(STREAMS), max_size=4), st.data())
def test_replies_in_any_pieces(parts: list[tuple[bytes, list[Any]]], data: st.DataObject) -> None:
    """Wherever a stream of replies is cut, the same replies come out of it."""
    stream = b"".join(part for part, _ in parts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    assert read(stream, *cuts) == [reply for _, replies in parts for reply in replies]


@given(st.dictionaries(st.sampled_from(["k", "l", "m"]), st.binary(max_size=60)), st.data())
def test_values_are_never_protocol(values: dict[str, bytes], data: st.DataObject) -> None:
    """Whatever bytes are stored, they are read as these values and nothing else."""
    stream = b""
    for key, value in values.items():
        flags, raw = stored.write(value)
        stream += b"VALUE %b %d %d\r\n%b\r\n" % (key.encode(), flags, len(raw), raw)
    stream += b"END\r\n"
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=4).map(sorted))
    assert read(stream, *cuts) == [values]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1_000_000])
def test_a_value_in_many_pieces_is_put_together_once(size: int) -> None:
    """A big value costs no more to read in pieces of 4 KB than its bytes."""
    value = random.Random(size).randbytes(size)
    stream = b"VALUE k 0 %d\r\n%b\r\nEND\r\n" % (size, value)
    assert read(stream, *range(4096, len(stream), 4096)) == [{"k": value}]


def replied(command: commands.Command, stream: bytes, *cuts: int) -> None:
    """Check the replies in a stream to be ones to a command."""
    for reply in read(stream, *cuts):
        if not MEMCACHED.matches(command.packed, reply):
            raise mismatch(reply)


@pytest.mark.parametrize(
    "stream",
    [
        b"VALUE\r\n",
        b"VALUE k\r\n",
        b"VALUE k 0\r\n",
        b"VALUE k 0 1 2 3\r\nv\r\nEND\r\n",
        b"VALUE  0 1\r\nv\r\nEND\r\n",
        b"VALUE k x 1\r\nv\r\nEND\r\n",
        b"VALUE k -1 1\r\nv\r\nEND\r\n",
        b"VALUE k 0 x\r\nv\r\nEND\r\n",
        b"VALUE k 0 -1\r\nv\r\nEND\r\n",
        b"VALUE k 0 +1\r\nv\r\nEND\r\n",
        b"VALUE k 0 1_0\r\n0123456789\r\nEND\r\n",
        b"VALUE k 0 1 x\r\nv\r\nEND\r\n",
        b"VALUE \xff 0 1\r\nv\r\nEND\r\n",
        b"VALUE k 0 1\nv\r\nEND\r\n",
        b"VALUE k 0 1\r\nvv\r\nEND\r\n",
        b"VALUE k 0 2\r\nv\r\nEND\r\n",
        b"VALUE k 0 1\r\nv\n\nEND\r\n",
        b"VALUE k 0 1073741825\r\n",
        b"VALUE k 0 99999999999999999999\r\n",
        b"VALUE k 0 1\r\nv\r\nSTAT a 1\r\nEND\r\n",
        b"STAT a 1\r\nVALUE k 0 1\r\nv\r\nEND\r\n",
        b"x" * 70_000,
        b"VALUE " + b"k" * 70_000,
        b"STAT a 1\r\nEND\r\n",
        b"STORED\r\n",
        b"OK\r\n",
        b"5\r\n",
        b"\r\n",
        b"END \r\n",
        b"end\r\n",
        b"VALUES\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"-ERR unknown command\r\n",
        b"\0" * 100 + b"\r\n",
        b"\x16\x03\x01\n",
    ],
)
def test_garbage_is_no_reply_to_a_get(stream: bytes) -> None:
    """What is no reply, or one to something else, fails the connection and is no value."""
    for cuts in ((), range(1, min(len(stream), 200))):
        with pytest.raises(ProtocolError):
            replied(commands.get("k"), stream, *cuts)


GET, GET_TWO = b"get k\r\n", b"get k l\r\n"
SET, ADD, CAS = b"set k 0 0 1\r\nv\r\n", b"add k 0 0 1\r\nv\r\n", b"cas k 0 0 1 5\r\nv\r\n"
STATS, WALK = commands.SETTINGS, commands.SCAN
REFUSED = ReplyError("SERVER_ERROR out of memory")


@pytest.mark.parametrize(
    ("packed", "reply", "is_one"),
    [
        (GET, {}, True),
        (GET, {"k": b"v"}, True),
        (GET, REFUSED, True),
        (GET, {"l": b"v"}, False),
        (GET, {"K": b"v"}, False),
        (GET, {"get": b"v"}, False),
        (GET, {"k": b"v", "l": b"v"}, False),
        (b"get kk\r\n", {"k": b"v"}, False),
        (GET, [b"STAT a 1"], False),
        (GET, b"STORED", False),
        (GET, b"EN", False),
        (GET_TWO, {}, True),
        (GET_TWO, {"l": b"v"}, True),
        (GET_TWO, {"l": b"v", "k": b"w"}, True),
        (GET_TWO, {"k": b"v", "m": b"v"}, False),
        (b"gets k\r\n", {"k": Item(b"v", 1)}, True),
        (b"gets k\r\n", {"gets": Item(b"v", 1)}, False),
        (b"gets k\r\n", {}, True),
        (b"gets k\r\n", {"l": Item(b"v", 1)}, False),
        (SET, b"STORED", True),
        (SET, b"NOT_STORED", True),
        (SET, REFUSED, True),
        (SET, b"OK", False),
        (SET, b"DELETED", False),
        (SET, b"5", False),
        (SET, {}, False),
        (SET, {"k": b"v"}, False),
        (SET, [b"STAT a 1"], False),
        (ADD, b"STORED", True),
        (ADD, b"NOT_STORED", True),
        (ADD, b"TOUCHED", False),
        (CAS, b"STORED", True),
        (CAS, b"EXISTS", True),
        (CAS, b"NOT_FOUND", True),
        (CAS, {}, False),
        (b"delete k\r\n", b"DELETED", True),
        (b"delete k\r\n", b"NOT_FOUND", True),
        (b"delete k\r\n", b"TOUCHED", False),
        (b"delete k\r\n", {"k": b"v"}, False),
        (b"incr k 5\r\n", b"5", True),
        (b"incr k 5\r\n", b"NOT_FOUND", True),
        (b"incr k 5\r\n", b"-5", False),
        (b"incr k 5\r\n", b"STORED", False),
        (b"incr k 5\r\n", b"", False),
        (b"incr k 5\r\n", {}, False),
        (b"mg k f c t\r\n", b"HD f0 c7 t5", True),
        (b"mg k f c t T5\r\n", b"HD f12046 c7 t-1", True),
        (b"mg k f c t\r\n", b"HD f0 c7 t5 W X", True),
        (b"mg k f c t\r\n", b"EN", True),
        (b"mg k f c t\r\n", b"HD", False),
        (b"mg k f c t\r\n", b"HD t5", False),
        (b"mg k f c t\r\n", b"VA 1", False),
        (b"mg k f c t\r\n", {}, False),
        (b"mg k f c t\r\n", {"k": Lasting(b"v", 5)}, False),
        (b"mg k k f t v\r\n", {"k": Lasting(b"v", 5)}, True),
        (b"mg k k f t v\r\n", {"l": Lasting(b"v", 5)}, False),
        (b"mg k k f t v\r\n", {}, False),
        (b"mg k k f t v\r\n", b"EN", True),
        (b"mg k k f t v\r\n", b"EN kk", True),
        (commands.VERSION, b"VERSION 1.6.18", True),
        (commands.VERSION, b"OK", False),
        (commands.VERSION, {}, False),
        (commands.FLUSH, b"OK", True),
        (commands.FLUSH, b"STORED", False),
        (STATS, [b"STAT a 1"], True),
        (STATS, {}, True),
        (STATS, {"k": b"v"}, False),
        (STATS, b"OK", False),
        (WALK, [b"key=k"], True),
        (WALK, {}, True),
        (WALK, b"BUSY crawler", True),
        (WALK, b"BADCLASS invalid", True),
        (WALK, {"k": b"v"}, False),
        (WALK, b"STORED", False),
        (b"set get k\r\n", {"k": b"v"}, False),
    ],
)
def test_a_reply_fits_its_request(packed: bytes, reply: Any, is_one: bool) -> None:
    """A reply of another kind, or with another key's value, is told from the right one."""
    assert fits(packed, reply) is is_one


def test_several_gets_are_one() -> None:
    """What is asked for side by side is asked for in one line, each key once."""
    asked = [commands.get(key).packed for key in ("a", "b", "a", "c" * 250)]
    asked.append(commands.get_many(["d", "b"]).packed)
    assert join(asked[:4]) == b"get a b %b\r\n" % (b"c" * 250)
    assert set(join(asked).split()) == {b"get", b"a", b"b", b"c" * 250, b"d"}
    assert fits(join(asked), {"a": b"v", "c" * 250: b"v"})
    assert MEMCACHED.mergeable == b"get "


# Results


def lost() -> ConnectionLost:
    return ConnectionLost("h:1 closed the connection")


def refused(text: str) -> Refused:
    return Refused(f"h:1 refused: {text}", ReplyError(text))


@pytest.mark.parametrize(
    ("version", "is_modern"),
    [
        ("1.6.18", True),
        ("1.6", True),
        ("1.6.0-beta1", True),
        ("1.10.0", True),
        ("2.0", True),
        ("1.5.22", False),
        ("1.4.31", False),
        ("1", False),
        ("", False),
        ("unknown", False),
        ("mcrouter 1.6", False),
    ],
)
def test_meta_commands_came_with_1_6(version: str, is_modern: bool) -> None:
    """Versions are numbers, and what is none has no meta commands."""
    assert results.is_modern(version) is is_modern


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        (b"EN", 0.0),
        (b"HD f0 c7 t-1", None),
        (b"HD f0 c7 t30", 30.0),
        (b"HD f0 c7 t0", 0.001),
        (b"HD f9 c7 t30 W", 30.0),
        (b"HD f12046 c7 t30", 0.0),
    ],
)
def test_the_life_left(reply: bytes, left: float | None) -> None:
    """What is there has a moment at least, and a lock's second more is not told."""
    assert results.seconds("shop:1:k", reply) == left
    of_a_lock = left - 1 if left and left > 1 else left
    assert results.seconds("shop!lock:k", reply) == of_a_lock


def test_an_old_server_does_not_tell_lives() -> None:
    """The error says which version does."""
    with pytest.raises(BackendUnavailable, match=r"memcached 1\.6 and later"):
        results.seconds("k", refused("ERROR"))
    with pytest.raises(Refused, match="refused: SERVER_ERROR x"):
        results.seconds("k", refused("SERVER_ERROR x"))


@pytest.mark.parametrize("found", [{"k": b"v"}, {"k": Item(b"v", 0)}])
def test_a_server_without_cas_is_told_so(found: dict[str, Any]) -> None:
    """What cannot be compared is an error with a name, not an endless try."""
    with pytest.raises(BackendUnavailable, match=r"runs without CAS \(-C\)"):
        results.item("k", found)
    assert results.item("k", {"k": Item(b"v", 1)}) == Item(b"v", 1)
    assert results.item("k", {}) is None


def test_what_was_stored() -> None:
    """For `set` no room is False; for `add`, which may be a lock, it is an error."""
    assert results.is_stored("k", b"STORED") is True
    assert results.is_stored("k", refused("SERVER_ERROR out of memory storing object")) is False
    assert results.is_added("k", b"STORED") is True
    assert results.is_added("k", b"NOT_STORED") is False
    assert results.is_added("k", b"EXISTS") is False
    assert results.is_added("k", b"NOT_FOUND") is False
    for judge in (results.is_stored, results.is_added, results.is_done):
        with pytest.raises(Refused):
            judge("k", refused("CLIENT_ERROR bad data chunk"))
        with pytest.raises(ConnectionLost):
            judge("k", lost())
    with pytest.raises(Refused):
        results.is_added("k", refused("SERVER_ERROR out of memory storing object"))


def test_a_part_of_the_values() -> None:
    """What living servers have is the result of an error about the others."""
    asked = [["a", "c"], ["b"]]
    there = [{"a": b"1", "c": b"3"}, {"b": b"2"}]
    found = results.values(["a", "b", "c", "missing"], asked, there)
    assert list(found.items()) == [("a", b"1"), ("b", b"2"), ("c", b"3")]
    with pytest.raises(PartlyUnavailable, match="h:1 closed") as caught:
        results.values(["a", "b", "c"], asked, [there[0], lost()])
    assert caught.value.result == {"a": b"1", "c": b"3"}
    with pytest.raises(Refused):
        results.values(["a", "b", "c"], asked, [there[0], refused("SERVER_ERROR x")])


def test_a_part_of_the_writes() -> None:
    """Lost writes are failed keys, and lost deletions an error with the number of the others."""
    keys = ["a", "b", "c", "d"]
    outcomes = [b"STORED", refused("SERVER_ERROR out of memory"), lost()]
    assert results.failed(keys, keys[:3], outcomes) == ["b", "c", "d"]
    value, stub = b"HD f0 c7 t-1", b"HD f12046 c7 t-1"
    looked: list[Any] = [value, b"DELETED", b"EN", b"NOT_FOUND", value, b"NOT_FOUND"]
    looked += [stub, b"DELETED", {"k": Item(b"v", 7)}, b"DELETED", {}, b"NOT_FOUND"]
    assert results.deleted(looked) == 2
    with pytest.raises(PartlyUnavailable) as caught:
        results.deleted([*looked, lost(), lost()])
    assert caught.value.result == 2


def test_a_sum() -> None:
    """The server's unsigned sum is a signed one; no key is an error, no number is None."""
    assert results.counted("n", b"18446744073709551615") == -1
    assert results.counted("n", b"5") == 5
    with pytest.raises(MissingKey, match="no counter 'n' to add to"):
        results.counted("n", b"NOT_FOUND")
    assert results.counted("n", refused("CLIENT_ERROR cannot increment non-numeric value")) is None
    with pytest.raises(Refused):
        results.counted("n", refused("CLIENT_ERROR invalid numeric delta argument"))


def test_what_a_scan_and_the_settings_tell() -> None:
    """Keys are percent-encoded there, and settings may have blanks or nothing in them."""
    assert results.scanned_key(b"key=a%20b%25%C3%A9+") == b"a b%\xc3\xa9+"
    lines = [b"STAT item_size_max 1048576", b"STAT inter a b", b"STAT empty ", b"STAT short"]
    assert results.settings(lines) == {"item_size_max": "1048576", "inter": "a b", "empty": ""}


@pytest.mark.parametrize(
    ("version", "told", "warnings", "largest"),
    [
        ("1.6.18", {"item_size_max": "1048576", "evictions": "on"}, [], 1048576),
        ("1.6.18", {"evictions": "off"}, ["runs with -M"], None),
        ("1.6.18", {"cas_enabled": "no", "item_size_max": "x"}, ["runs with -C"], None),
        ("1.5.6", {"cas_enabled": "yes"}, ["older than 1.6: ttl() needs that"], None),
        ("1.5.6", {"evictions": "off", "cas_enabled": "no"}, ["1.6", "-M", "-C"], None),
    ],
)
def test_what_is_worth_knowing(
    version: str, told: dict[str, str], warnings: list[str], largest: int | None
) -> None:
    """Each setting of a server that harms a cache is a warning that names the server."""
    found = results.examined("h:1", version, told, 0.5)
    assert (found.name, found.version, found.round_trip) == ("h:1", f"memcached {version}", 0.5)
    assert found.item_size_max == largest
    assert len(found.warnings) == len(warnings)
    for text, part in zip(found.warnings, warnings, strict=True):
        assert text.startswith("h:1 ")
        assert part in text
