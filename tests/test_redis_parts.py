"""Redis: the parts that do no I/O of their own, each against its specification."""

import random
import re
import traceback
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chaos import Certificates, RedisCluster, RedisServer
from twofold.backends.network import INCOMPLETE, Breaker, ProtocolError, ReplyError, Server
from twofold.backends.network.options import Tls, read_tls
from twofold.backends.redis import RedisBackend, commands, deployment, protocol, replies, scripts
from twofold.backends.redis.addresses import Address, read_addresses
from twofold.backends.redis.connector import Login
from twofold.backends.redis.replies import PythonReader
from twofold.backends.redis.topology import ClusterTopology
from twofold.errors import SettingsError
from twofold.testing import FakeClock

# Addresses


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("", [Address("127.0.0.1", 6379)]),
        ([""], [Address("127.0.0.1", 6379)]),
        ("redis://", [Address("127.0.0.1", 6379)]),
        ("redis://h", [Address("h", 6379)]),
        ("redis://h/", [Address("h", 6379)]),
        ("redis://:1", [Address("127.0.0.1", 1)]),
        ("redis://h:65535/3", [Address("h", 65535, db=3)]),
        ("redis://h/0", [Address("h", 6379, db=0)]),
        ("redis://h?db=3", [Address("h", 6379, db=3)]),
        ("redis://h/2?db=2", [Address("h", 6379, db=2)]),
        ("REDISS://h", [Address("h", 6379, tls=True)]),
        ("redis://[::1]:7/1", [Address("::1", 7, db=1)]),
        ("redis://[::1]", [Address("::1", 6379)]),
        ("redis://:pw@h", [Address("h", 6379, password="pw")]),
        ("redis://u@h", [Address("h", 6379, username="u")]),
        ("redis://u:pw@h", [Address("h", 6379, username="u", password="pw")]),
        (
            "redis://%75%40:p%3A%2F%3F%23%5B%40%25+@h",
            [Address("h", 6379, username="u@", password="p:/?#[@%+")],
        ),
        ("redis://:p[w]\u2100@h", [Address("h", 6379, password="p[w]\u2100")]),
        ("redis://[::1],[::2]:7", [Address("::1", 6379), Address("::2", 7)]),
        ("redis://a, b", [Address("a", 6379), Address("b", 6379)]),
        ("unix:///run/r.sock", [Address(path="/run/r.sock")]),
        ("unix:///run/a%20b.sock?db=1", [Address(path="/run/a b.sock", db=1)]),
        (
            "unix://u:pw@/run/r.sock",
            [Address(path="/run/r.sock", username="u", password="pw")],
        ),
        ("redis://a,b:2/1", [Address("a", 6379, db=1), Address("b", 2, db=1)]),
        ("redis://:pw@a,b", [Address("a", 6379, password="pw"), Address("b", 6379, password="pw")]),
        ("redis://a;redis://b", [Address("a", 6379), Address("b", 6379)]),
        (
            "redis://a/1, rediss://b/2",
            [Address("a", 6379, db=1), Address("b", 6379, tls=True, db=2)],
        ),
        (
            ["redis://a,b", "redis://c"],
            [Address("a", 6379), Address("b", 6379), Address("c", 6379)],
        ),
    ],
)
def test_a_location_names_servers(location: str | list[str], found: list[Address]) -> None:
    """URLs, lists of them and several in one text say where the servers are, and how to log in."""
    assert read_addresses(location, 6379) == found


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("h:6379", "is no URL of a Redis server: write redis://"),
        ("http://h", "is no URL of a Redis server: write redis://"),
        ("redis://a|redis://b", "has no database 'b'"),
        ("redis://h:0", "has no port '0'"),
        ("redis://h:65536", "has no port '65536'"),
        ("redis://h:1x", "has no port '1x'"),
        ("redis://::1", "has no port ':1'"),
        ("redis://a,b:x", "has no port 'x'"),
        ("redis://[::1", "has no host '[::1'"),
        ("redis://[::1]junk:6380", "has no host '[::1]junk:6380'"),
        ("redis://h/1?db=2", "has two databases, '1' and '2': leave one out"),
        ("redis://h1,", "names several servers, and one of them has no host"),
        ("redis://h1,,h2", "names several servers, and one of them has no host"),
        ("redis://h1,:1", "names several servers, and one of them has no host"),
        ("redis://h1,redis://", "names several servers, and one of them has no host"),
        (["redis://h1", ""], "names several servers, and one of them has no host"),
        (["", "unix:///r.sock"], "names several servers, and one of them has no host"),
        ("redis://h/one", "has no database 'one': a number"),
        ("redis://h/-1", "has no database '-1': a number"),
        ("redis://h/1/2", "has no database '1/2': a number"),
        ("redis://h?db=1.5", "has no database '1.5': a number"),
        ("redis://h?protocol=3", "no option 'protocol' in the URL"),
        ("unix://", "has no path of a socket"),
        ("unix://h/run/r.sock", "has no path of a socket"),
        ("redis://h,h", "names the server h:6379 twice"),
        (["redis://h", "redis://h:6379"], "names the server h:6379 twice"),
        ([], "names no server: write redis://"),
    ],
)
def test_a_location_that_names_no_server_is_refused(
    location: str | list[str], message: str
) -> None:
    """The error names the setting and shows the part that is wrong."""
    with pytest.raises(SettingsError) as caught:
        read_addresses(location, 6379)
    assert str(caught.value).startswith("LOCATION ")
    assert message in str(caught.value)


@pytest.mark.parametrize("mark", "/?#")
def test_half_a_password_is_not_shown(mark: str) -> None:
    """What ends the host too early is told, without what it parted."""
    with pytest.raises(SettingsError, match="in a password as %2F, %3F and %23") as caught:
        read_addresses(f"redis://:hid{mark}den@h", 6379)
    assert "hid" not in str(caught.value)
    assert "den" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("redis://:hid\u2100den@h:bad", "has no port 'bad'"),
        ("redis://:[hidden]x@h:bad", "has no port 'bad'"),
        ("redis://:hid[den@[h", "has no host '[h'"),
        ("redis://:my hidden@h:bad", "has no port 'bad'"),
        ("redis://u:hid@den@h", "write '@' in a user or password as %40"),
        ("redis://u@x:hidden@h", "write '@' in a user or password as %40"),
        ("redis://u:hid@h1,u2:den@h2", "write '@' in a user or password as %40"),
        ("redis://u/x:hidden@h", "in a password as %2F, %3F and %23"),
        ("unix://u:hid@den@/r.sock", "write '@' in a user or password as %40"),
        ("unix://:x?hidden@/r.sock", "in a password as %2F, %3F and %23"),
    ],
)
def test_a_wrong_login_is_not_shown(location: str, message: str) -> None:
    """Neither the error nor what it was raised from quotes a password."""
    with pytest.raises(SettingsError) as caught:
        read_addresses(location, 6379)
    assert message in str(caught.value)
    told = "".join(traceback.format_exception(caught.value)).replace(repr(location), "")
    assert "hid" not in told.partition("SettingsError: ")[2]
    assert "den" not in told.partition("SettingsError: ")[2]
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (Address("h", 1), "h:1"),
        (Address("::1", 1), "[::1]:1"),
        (Address(path="/r.sock"), "/r.sock"),
        (Address("h", 1, username="u", password="pw"), "h:1"),
    ],
)
def test_a_server_has_a_name_without_a_secret(address: Address, name: str) -> None:
    """Messages and statistics call a server by its host and port, or its path."""
    assert address.name == name


def test_what_the_url_says_comes_before_the_options() -> None:
    """The login of a URL wins; where it is silent, that of the options holds."""
    options = Login("option", "secret", 1)
    assert options.at(Address("h", 1)) == options
    assert options.at(Address("h", 1, db=0)).db == 0
    said = options.at(Address("h", 1, username="url", password="own", db=2))
    assert (said.username, said.password, said.db) == ("url", "own", 2)
    assert "own" not in repr(said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"username": 7}, "OPTIONS['username'] is text, not a int"),
        ({"password": 7}, "OPTIONS['password'] is text, not a int"),
        ({"db": "1"}, "OPTIONS['db'] is the number of a database, 0 or more; not '1'"),
        ({"db": -1}, "not -1"),
        ({"db": True}, "not True"),
        ({"db": 1.0}, "not 1.0"),
    ],
)
def test_a_login_of_the_wrong_kind_is_refused(options: dict[str, Any], message: str) -> None:
    """The error names the option, and shows no password."""
    with pytest.raises(SettingsError) as caught:
        deployment.read_login(**{"username": None, "password": None, **options})
    assert message in str(caught.value)


CA = {"ssl_ca_certs": __file__}


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("redis://h", {"sentinel": True}, "OPTIONS['sentinel'] is the name of a service, not True"),
        ("redis://h", {"sentinel": ""}, "OPTIONS['sentinel'] is the name of a service, not ''"),
        ("redis://h", {"sentinel_username": "u"}, "OPTIONS['sentinel_username'] is for sentinels"),
        ("redis://h", {"sentinel_password": "hidden"}, "OPTIONS['sentinel_password'] is for sent"),
        ("redis://h", {"sentinel": "s", "sentinel_username": 7}, "['sentinel_username'] is text"),
        ("redis://h", {"cluster": True, "sentinel": "s"}, "do not go together"),
        ("redis://h/1", {"db": 2}, "OPTIONS['db'] is 2, and the URL of h:6379 has database 1"),
        ("redis://h/1", {"db": 0}, "OPTIONS['db'] is 0, and the URL of h:6379 has database 1"),
        ("redis://h", CA, "OPTIONS['ssl_ca_certs'] is for TLS: write rediss://"),
        ("unix:///r.sock", CA, "OPTIONS['ssl_ca_certs'] is for TLS: write rediss://"),
        ("redis://h", {"ssl_cert_reqs": "none"}, "OPTIONS['ssl_cert_reqs'] is for TLS"),
        ("redis://h", {"ssl_check_hostname": False}, "OPTIONS['ssl_check_hostname'] is for TLS"),
        ("redis://h", {**CA, "cluster": True}, "OPTIONS['ssl_ca_certs'] is for TLS"),
        ("redis://h", {**CA, "sentinel": "s"}, "OPTIONS['ssl_ca_certs'] is for TLS"),
        ("rediss://h", {"ssl_ca_certs": 3}, "OPTIONS['ssl_ca_certs'] is the path of a file, not 3"),
        ("rediss://h", {"ssl_certfile": "/no"}, "OPTIONS['ssl_certfile']: there is no file '/no'"),
        ("rediss://h", {"ssl_keyfile": ""}, "OPTIONS['ssl_keyfile']: there is no file ''"),
        ("rediss://h", {"ssl_ca_certs": "/"}, "OPTIONS['ssl_ca_certs']: there is no file '/'"),
        ("redis://h", {"deadline": float("nan")}, "not nan"),
        ("redis://h", {"deadline": float("inf")}, "not inf"),
    ],
)
def test_options_that_cannot_be_are_refused(
    location: str, options: dict[str, Any], message: str
) -> None:
    """What would have no effect, or contradicts another setting, is no setting."""
    with pytest.raises(SettingsError) as caught:
        RedisBackend(location, **options)
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)


MANY: list[dict[str, Any]] = [{"cluster": True}, {"sentinel": "s"}]


@pytest.mark.parametrize("options", MANY)
@pytest.mark.parametrize(
    "location",
    [
        ["redis://h", "rediss://h2"],
        ["rediss://h", "redis://h2"],
        ["redis://u:hidden@h", "redis://v:hidden@h2"],
        ["redis://u:hidden@h", "redis://u:hidden2@h2"],
        ["redis://h", "redis://:hidden@h2"],
        ["redis://h/0", "redis://h2/1"],
        ["redis://h", "redis://h2/1"],
    ],
)
def test_servers_found_through_others_have_one_login(
    location: list[str], options: dict[str, Any]
) -> None:
    """The URLs of a cluster, or of sentinels, contradict neither each other nor the first."""
    with pytest.raises(SettingsError) as caught:
        RedisBackend(location, **options)
    assert re.match(
        r"LOCATION: h2:(2?6379) has another login, database or TLS than h:\1: ", str(caught.value)
    )
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("options", [*MANY, {}])
@pytest.mark.parametrize(
    "location",
    [
        ["redis://u:pw@h/0", "redis://u:pw@h2/0"],
        ["redis://u:pw@h/0", "redis://h2"],
        ["rediss://h", "rediss://h2"],
        "redis://u:pw@h,h2/0",
    ],
)
def test_the_first_url_may_speak_for_all(
    location: str | list[str], options: dict[str, Any]
) -> None:
    """One login in all URLs, or in the first alone, is no contradiction."""
    RedisBackend(location, **options, db=0).close()


def test_options_of_tls_go_with_any_server_that_speaks_it() -> None:
    """One `rediss:` among several URLs is enough for `ssl_` options."""
    RedisBackend(["redis://h", "rediss://h2"], ssl_ca_certs=__file__).close()


def test_renewed_certificates_are_read_again(tmp_path: Path) -> None:
    """Once a file is another one, who connects next reads it; until then, nobody does."""
    old, new = (Certificates.write(tmp_path / name) for name in ("old", "new"))
    tls = Tls(read_tls(ssl_ca_certs=str(old.ca), **OF_TLS))
    first = tls.context()
    assert tls.context() is first
    new.ca.replace(old.ca)
    assert tls.context().get_ca_certs() != first.get_ca_certs()
    old.ca.unlink()
    with pytest.raises(OSError, match="ca"):
        tls.context()


OF_TLS: dict[str, Any] = {
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_cert_reqs": "required",
    "ssl_check_hostname": True,
}


# Commands


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_a_command_is_an_array_of_bulk_strings(parts: list[bytes]) -> None:
    """What is packed reads back as the same parts, whatever bytes they have."""
    reader = PythonReader()
    reader.feed(commands.pack(*parts))
    assert reader.gets() == parts
    assert reader.gets() is INCOMPLETE


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126)), min_size=1))
def test_commands_on_keys_are_packed_like_any(keys: list[str]) -> None:
    """Those for the hot paths, which are put together as text, are the same bytes."""
    names = [key.encode() for key in keys]
    assert commands.get(keys[0]).packed == commands.pack(b"GET", names[0])
    assert commands.mget(keys).packed == commands.pack(b"MGET", *names)


@pytest.mark.parametrize(
    "command",
    [
        lambda: commands.get("é"),
        lambda: commands.mget(["k", "é"]),
        lambda: scripts.delete_many(["k", "é"]),
        lambda: scripts.has("é"),
    ],
)
def test_a_key_that_is_no_ascii_is_never_sent(command: Callable[[], Any]) -> None:
    """Its length would be wrong, and its end be read as a command: the backend never gets one."""
    with pytest.raises(UnicodeEncodeError):
        command()


@pytest.mark.parametrize(
    ("ttl", "milliseconds"),
    [
        (None, b""),
        (0.0001, b"1"),
        (0.001, b"1"),
        (0.0015, b"2"),
        (0.25, b"250"),
        (1, b"1000"),
        (1.2345, b"1234"),
        (86_400.0, b"86400000"),
        (2.0**80, b"9007199254740992"),
    ],
)
def test_a_life_is_whole_milliseconds(ttl: float | None, milliseconds: bytes) -> None:
    """It is never 0, which the server refuses, and never so long that its clock overflows."""
    assert commands.life(ttl) == milliseconds


def test_the_longest_life_is_one_for_the_server(redis_server: RedisServer) -> None:
    """The server takes the greatest number that `life` gives, in each command that has one."""
    longest = commands.life(1e300)
    assert redis_server.command("SET", "k", "v", "PX", longest) == "OK"
    assert redis_server.command("PEXPIRE", "k", longest) == 1
    assert redis_server.command("PTTL", "k") > 2**52


@pytest.mark.parametrize(
    ("command", "is_bulk"),
    [
        (commands.set("k", b"v" * 60_000, None), False),
        (commands.set("k", b"v" * 65_536, None), True),
        (commands.add("k", b"v" * 65_536, 1), True),
        (scripts.compare_and_set("k", b"v" * 65_536, b"", None), True),
        (commands.mget(["k"] * 31), False),
        (commands.mget(["k"] * 32), True),
        (scripts.delete_many(["k"] * 32), True),
        (commands.get("k"), False),
    ],
)
def test_what_takes_long_to_pass_is_bulk(command: commands.Command, is_bulk: bool) -> None:
    """From 64 KB or 32 keys on a command goes where nothing small waits behind it."""
    assert command.bulk is is_bulk


def test_reads_alone_may_be_repeated() -> None:
    """Only commands that change nothing say so."""
    reads = [commands.get("k"), commands.mget(["k"]), scripts.ttl("k"), scripts.has("k")]
    writes = [
        commands.set("k", b"v", None),
        commands.add("k", b"v", 1),
        scripts.touch("k", 1),
        scripts.touch("k", None),
        scripts.delete("k"),
        scripts.set_and_delete("k", b"v", ["l"]),
        scripts.incr("k", 1),
        scripts.compare_and_set("k", b"v", b"w", None),
        scripts.compare_and_delete("k", b"v"),
    ]
    assert all(each.reads for each in reads)
    assert not any(each.reads for each in writes)


PATTERN_MARKS = "*?[]\\^-!{}'\" \t~a1"


def scanned(server: RedisServer, prefix: str) -> set[str]:
    """Return the keys that the server finds by the pattern of a prefix."""
    reader = PythonReader()
    reader.feed(commands.scan(b"0", commands.beginning(prefix)))
    command = reader.gets()
    assert command[:3] == [b"SCAN", b"0", b"MATCH"]
    _, keys = server.command(*command)
    return {key.decode() for key in keys}


def test_a_prefix_is_no_pattern_to_the_server(redis_server: RedisServer) -> None:
    """Of 300 random keys of marks, a scan finds just those that begin with the prefix."""
    chance = random.Random(0)
    names = {"".join(chance.choices(PATTERN_MARKS, k=chance.randint(1, 6))) for _ in range(300)}
    for name in names:
        redis_server.command("SET", name, "v")
    for name in names:
        prefix = name[:3]
        assert scanned(redis_server, prefix) == {each for each in names if each.startswith(prefix)}


# Replies

LINES = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
SCALARS = st.one_of(
    st.binary(max_size=30).map(lambda v: b"$%d\r\n%b\r\n" % (len(v), v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: b":%d\r\n" % v),
    LINES.map(lambda v: b"+%b\r\n" % v.encode()),
    LINES.map(lambda v: b"-ERR %b\r\n" % v.encode()),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$0\r\n\r\n"]),
)
STREAMS = st.lists(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4).map(
            lambda each: b"*%d\r\n%b" % (len(each), b"".join(each))
        ),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
).map(b"".join)


def plain(reply: Any) -> Any:
    """Return a reply with errors that can be compared."""
    if isinstance(reply, ReplyError):
        return "error", reply.code, str(reply)
    return [plain(each) for each in reply] if isinstance(reply, list) else reply


def read(reader: replies.Reader, *pieces: bytes) -> list[Any]:
    """Return all replies in a stream that comes in pieces."""
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (reply := reader.gets()) is not INCOMPLETE:
            found.append(plain(reply))
    return found


@settings(deadline=None)  # each place to cut at makes two readers
@given(STREAMS)
@example(b"$0\r\n\r\n:0\r\n*1\r\n$0\r\n\r\n")
@example(b"$0\r\n\r\n:0\r\n$0\r\n\r\n")
@example(b"*2\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n")
def test_both_readers_read_the_same_replies(stream: bytes) -> None:
    """Ours and hiredis's agree on every stream, in one piece and cut in two at every place."""
    assert type(replies.new_reader()) is not PythonReader
    expected = read(replies.new_reader(), stream)
    assert read(PythonReader(), stream) == expected
    for cut in range(1, len(stream)):
        assert read(PythonReader(), stream[:cut], stream[cut:]) == expected
        assert read(replies.new_reader(), stream[:cut], stream[cut:]) == expected


@given(STREAMS)
def test_a_reply_byte_by_byte_is_the_same_reply(stream: bytes) -> None:
    """However small the pieces, no reply is lost, and none is there before its last byte."""
    pieces = [stream[n : n + 1] for n in range(len(stream))]
    for reader in (PythonReader(), replies.new_reader()):
        assert read(reader, *pieces[:-1]) == read(PythonReader(), stream)[:-1]
        assert read(reader, pieces[-1]) == read(PythonReader(), stream)[-1:]


def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have our own reader read."""
    monkeypatch.setattr(replies, "hiredis", None)


def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hiredis read, as it does where it is installed."""


@pytest.mark.parametrize("reader", [ours, theirs])
@pytest.mark.parametrize(
    "stream", [b"HTTP/1.1 400 Bad Request\r\n", b"x\r\n", b":one\r\n", b"$x\r\n", b"*x\r\n"]
)
def test_what_is_no_reply_is_an_error(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[[pytest.MonkeyPatch], None], stream: bytes
) -> None:
    """A server of another kind, or a stream out of step, is not taken for an answer."""
    reader(monkeypatch)
    made = replies.new_reader()
    assert (type(made) is PythonReader) is (reader is ours)
    made.feed(stream)
    with pytest.raises(ProtocolError):
        made.gets()


HOSTILE = [
    b"*400000000\r\n",
    b"*2\r\n*400000000\r\n",
    b"*99999\r\n" * 9,
    b"$1\r\nx\r\n*400000000\r\n",
    b"$1\r\nx\r\n:0\r\n*400000000\r\n",
    b"$-1\r\n*400000000\r\n",
    b"$0\r\nXX*400000000\r\n",
    b"*2\r\n$0\r\nXX*400000000\r\n",
    b"*2\r\n$0\r\n\r\n$1\r\nx\r\n*400000000\r\n",
    b"*2\r\n$99\r\nx\r\n*400000000\r\n",
    b"~400000000\r\n",
    b">400000000\r\n",
    b"|400000000\r\n",
    b"*1\r\n%1\r\n*0\r\n+x\r\n",
    b"$99999999999\r\n",
    b"*1\r\n" * 1000,
]


@pytest.mark.parametrize("reader", [ours, theirs])
@pytest.mark.parametrize("stream", HOSTILE, ids=lambda each: repr(each[:20]))
def test_what_is_announced_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[[pytest.MonkeyPatch], None], stream: bytes
) -> None:
    """Room is made for what has come, wherever its announcement is cut in two."""
    reader(monkeypatch)
    places = range(min(len(stream), 60))
    tracemalloc.start()
    try:
        for place in places:
            with suppress(ProtocolError):
                read(replies.new_reader(), *filter(None, (stream[:place], stream[place:])))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("reader", [ours, theirs])
@pytest.mark.parametrize("size", [1, 65_536])
def test_a_line_without_an_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[[pytest.MonkeyPatch], None], size: int
) -> None:
    """What never ends is refused after the longest line, or after a few pieces, however small."""
    reader(monkeypatch)
    made = replies.new_reader()
    made.feed(b"+")
    with pytest.raises(ProtocolError, match="has no end"):
        read(made, *[b"x" * size] * (70_000 // size + 20))


class Searched(bytearray):
    """A buffer that counts the bytes which are searched for the end of a line."""

    bytes = 0

    def find(self, what: Any, start: Any = 0, *_: Any) -> int:
        found = super().find(what, start)
        self.bytes += (len(self) if found < 0 else found) - start
        return found


@pytest.mark.parametrize("size", [1000, 2000, 4000])
def test_our_reader_searches_no_byte_again(size: int) -> None:
    """What comes byte by byte costs as much for each byte, however many have come before."""
    reader = PythonReader()
    reader._buffer = buffer = Searched()
    for _ in range(size):
        reader.feed(b"x")
        reader.gets()
    assert buffer.bytes <= 3 * size


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("@user_script: 3: -READONLY You can't write against a read only replica.", "READONLY"),
        (
            "ERR Error running script (call to f_9458e): @user_script:3: @user_script: 3: -OOM no",
            "OOM",
        ),
        ("ERR Error running script (call to f_9458e): @user_script:3: oh", "ERR"),
        ("", ""),
    ],
)
def test_an_error_within_a_script_is_that_error(said: str, code: str) -> None:
    """Redis 6.2 tells first where in a script it is, which later servers tell last."""
    [error] = read(replies.new_reader(), f"-{said}\r\n".encode())
    assert error[1] == code
    assert error[2].startswith(code)


@pytest.mark.parametrize("size", [0, 1, 8, 9, 10, 11, 98, 99, 100, 101, 9_999, 10_000, 100_000])
def test_a_value_in_one_piece_is_read_whatever_its_size(size: int) -> None:
    """What begins it follows from the length of all; one of another size in it is no value yet."""
    value = bytes(size)
    for reader in (replies.new_reader(), PythonReader()):
        reader.feed(b"$%d\r\n%b\r\n" % (size, value))
        assert (reader.gets(), reader.gets()) == (value, INCOMPLETE)
        assert not reader.has_data()
        reader.feed(b"$%d\r\n%b\r\n" % (size + 1, value))
        assert reader.gets() is INCOMPLETE
        assert reader.has_data()


@pytest.mark.parametrize("size", [0, 1, 9, 10, 17, 99, 100, 9_999, 10_000, 100_000])
def test_two_values_in_one_piece_are_read_whatever_their_sizes(size: int) -> None:
    """What looks like an array within them is a value; of a longer one the rest is to come."""
    first, second = b"*3\r\n" + bytes(size), b"*99999\r\n" + bytes(size)
    both = b"*2\r\n$%d\r\n%b\r\n$%d\r\n" % (len(first), first, len(second))
    longer = b"*2\r\n$%d\r\n%b\r\n$%d\r\n" % (len(first), first, len(second) + 2)
    for reader in (replies.new_reader(), PythonReader()):
        for _ in range(2):  # behind another, too
            reader.feed(both + second + b"\r\n")
            assert (reader.gets(), reader.gets()) == ([first, second], INCOMPLETE)
            assert not reader.has_data()
        assert read(reader, longer + second + b"\r\n", b"\r\n") == [[first, second + b"\r\n"]]
        assert read(reader, both + second + b"\r\n", b":1\r\n") == [[first, second], 1]


def test_an_error_is_shown_and_not_obeyed() -> None:
    """What a terminal would obey is escaped, and what is too long to read is cut off."""
    for reader in (PythonReader(), replies.new_reader()):
        [(_, code, text)] = read(reader, b"-ERR \x1b[2J" + b"x" * 60_000 + b"\r\n")
        assert (code, text[:12]) == ("ERR", "ERR \\u001b[2")
        assert len(text) < 1000


def test_a_value_that_is_longer_than_it_said_is_an_error() -> None:
    """Our reader checks that a value ends where its length says."""
    reader = PythonReader()
    reader.feed(b"$2\r\nabc\r\n")
    with pytest.raises(ProtocolError, match="does not end where it should"):
        reader.gets()


# The slots of a cluster

SLOTS = [
    [0, 5460, [b"h", 1, b"id"], [b"h", 4, b"id"]],
    [5461, 10922, [b"h", 2, b"id"]],
    [10923, 16000, [b"", 3, b"id"]],
    [16002, 16383, [None, 3, b"id"]],
]
KEYS = ["", "k", "{tag}a", "{tag}b", "a{tag}", "{}k", "{a", "a}{b}", "{{x}}", "~" * 250]


class Nowhere:
    """A connector that is never asked."""

    def connect(self, seconds: float) -> Any:
        raise AssertionError("nobody was to be called")

    async def aconnect(self, seconds: float) -> Any:
        raise AssertionError("nobody was to be called")


def made(address: Address) -> Server:
    return Server(address.name, Nowhere(), protocol.RESP, 1.0)


@pytest.fixture
def slots() -> ClusterTopology:
    """Return a topology that knows one server, and no slot yet."""
    return ClusterTopology([Address("seed", 7)], made)


def names(servers: Any) -> list[str]:
    return [each.name for each in servers]


def test_before_the_slots_are_known_no_key_is_placed(slots: ClusterTopology) -> None:
    """Somebody must ask first; the seeds are whom."""
    assert slots.wants_map
    assert slots.place("k", reads=True) is None
    assert names(slots.candidates()) == ["seed:7"]
    assert list(slots.primaries()) == []


def test_each_key_is_where_its_slot_is(slots: ClusterTopology, redis_cluster: RedisCluster) -> None:
    """Placing agrees with the server's own count, hash tags and all, in each range."""
    slots.learn(SLOTS, slots.servers()[0])
    keys = [*KEYS, *(f"key:{n}" for n in range(200))]
    for key in keys:
        slot = redis_cluster.slot_of(key)
        expected = next((r[2][1] for r in SLOTS if r[0] <= slot <= r[1]), None)
        found = slots.place(key, reads=False)
        assert found is None if expected is None else found is not None
        assert found is None or found.name.endswith(f":{expected}")


def test_learning_makes_each_server_once(slots: ClusterTopology) -> None:
    """Primaries are told apart by address; one without a host is on the source's."""
    seed = slots.servers()[0]
    slots.learn(SLOTS, seed)
    first = names(slots.primaries())
    assert first == ["h:1", "h:2", "seed:3"]
    before = list(slots.primaries())
    slots.learn(SLOTS, before[0])
    assert [each is other for each, other in zip(slots.primaries(), before, strict=True)] == [
        True,
        True,
        False,  # for the other source it is on another host
    ]
    assert not slots.wants_map


def test_a_slot_that_nobody_serves_has_no_server(slots: ClusterTopology) -> None:
    """A hole in the map is no server, instead of a wrong one."""
    slots.learn([[0, 0, [b"h", 1, b"id"]]], slots.servers()[0])
    assert slots.place("k", reads=False) is None
    assert not slots.wants_map


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("MOVED 3999 127.0.0.1:6381", "127.0.0.1:6381"),
        ("MOVED 3999 host.example:6381", "host.example:6381"),
        ("MOVED 3999 ::1:6381", "[::1]:6381"),
        ("MOVED 3999 :6381", "seed:6381"),
        ("MOVED 3999 ?:6381", "seed:6381"),
        ("ASK 3999 127.0.0.1:6381", "127.0.0.1:6381"),
    ],
)
def test_a_redirection_names_a_server(slots: ClusterTopology, text: str, name: str) -> None:
    """Host and port are what follows the slot; without a host it is the source's."""
    found = slots.redirect(text, slots.servers()[0])
    assert found.name == name
    assert slots.redirect(text, slots.servers()[0]) is found


def test_a_moved_slot_alone_is_elsewhere(slots: ClusterTopology) -> None:
    """The key's slot changes its server at once, and no other does."""
    seed = slots.servers()[0]
    slots.learn(SLOTS, seed)
    there = slots.redirect("MOVED 1 h:9", seed)
    slots.move("{tag}a", there)
    assert slots.place("{tag}b", reads=False) is there
    assert slots.place("{other}b", reads=False) is not there


def test_the_map_is_looked_at_again_but_not_all_the_time(
    slots: ClusterTopology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distrust within a tenth of a second of the last look asks for no other one."""
    clock = FakeClock()
    monkeypatch.setattr("twofold.backends.redis.topology.monotonic", clock.monotonic)
    slots.learn(SLOTS, slots.servers()[0])
    clock.advance(0.09)
    slots.distrust()
    assert not slots.wants_map
    clock.advance(0.02)
    slots.distrust()
    assert slots.wants_map
    slots.candidates()
    assert not slots.wants_map  # one asks; meanwhile the old map holds


def test_servers_that_fail_are_asked_last(slots: ClusterTopology) -> None:
    """For the slots the servers are asked whose breakers are closed, then the others."""
    seed = slots.servers()[0]
    slots.learn(SLOTS, seed)
    seed.breaker.fail(OSError("no"), refused=True)
    assert [slots.candidates()[-1] for _ in range(20)] == [seed] * 20


# The breaker


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("h:1")


def act(breaker: Breaker, steps: str) -> str:
    """Take steps in turn, and tell the state after them."""
    for step in steps.split():
        if step == "fail":
            breaker.fail(OSError("gone"))
        elif step == "refuse":
            breaker.fail(OSError("refused"), refused=True)
        elif step == "reply":
            breaker.succeed()
        elif step == "pong":
            breaker.close()
        else:
            breaker.stay_open(OSError("no ping"))
    return breaker.state


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ("", "closed"),
        ("fail fail", "closed"),
        ("fail fail fail", "open"),
        ("fail fail reply fail fail", "closed"),
        ("refuse", "open"),
        ("refuse reply", "open"),
        ("refuse none none none", "open"),
        ("refuse none pong", "closed"),
        ("refuse pong none none none", "closed"),
        ("refuse pong fail", "closed"),
        ("fail fail fail pong fail", "open"),
        ("fail fail fail pong reply fail", "closed"),
    ],
)
def test_the_transitions_of_a_breaker(breaker: Breaker, steps: str, state: str) -> None:
    """It opens at a refusal or the third failure without a reply, and a ping alone closes it."""
    assert act(breaker, steps) == state


@pytest.mark.parametrize(
    ("failures", "most"), [(1, 0.05), (2, 0.1), (3, 0.2), (4, 0.4), (5, 0.4), (5000, 0.4)]
)
def test_the_pause_grows_and_is_spread(breaker: Breaker, failures: int, most: float) -> None:
    """Before a ping lie half to all of 50 ms, doubled by each failure up to 400 ms."""
    for _ in range(failures):
        breaker.fail(OSError("no"), refused=True)
    pauses = {breaker.pause for _ in range(50)}
    assert most / 2 <= min(pauses) < max(pauses) <= most
    assert len(pauses) > 5


def test_a_breaker_tells_why(breaker: Breaker) -> None:
    """Its state, the failures in a row and the last error can be read; a reply wipes them."""
    breaker.fail(OSError("first"))
    breaker.fail(OSError("second"), refused=True)
    assert (breaker.failures, breaker.error, breaker.tripped) == (2, "second", True)
    assert repr(breaker) == "<Breaker h:1 open>"
    assert str(breaker.refusal()) == (
        "h:1 is not asked: circuit breaker open until it answers a ping; last error: second"
    )
    breaker.close()
    assert (breaker.failures, breaker.error, breaker.tripped) == (2, "second", False)
    breaker.succeed()
    assert (breaker.failures, breaker.error, breaker.tripped) == (0, "", False)
