"""The rules of a shared HTTP cache (RFC 9110, RFC 9111), one case for each."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dict_backend import DictBackend
from twofold import Cache, CacheError, SettingsError, caches, configure
from twofold.contrib.http import (
    Exchange,
    Headers,
    Pages,
    Request,
    Response,
    add_public,
    add_vary,
)
from twofold.contrib.http.cache_control import FOREVER, CacheControl
from twofold.contrib.http.dates import parse_date
from twofold.contrib.http.freshness import age_on_arrival, lifetime
from twofold.contrib.http.headers import varying
from twofold.contrib.http.keys import page_key, variant_key
from twofold.contrib.http.page import Page, Varied, read
from twofold.contrib.http.replay import replay_of
from twofold.contrib.http.storing import may_store, serves
from twofold.contrib.http.validators import entity_tag, not_modified
from twofold.effects import BLOCKING, NATIVE, run_sync
from twofold.testing import ChaosBackend, FakeClock

NOW = 1_000_000_000.0  # Sun, 09 Sep 2001 01:46:40 GMT
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"
IN_A_MINUTE = "Sun, 09 Sep 2001 01:47:40 GMT"


def headers(*lines: str) -> Headers:
    """Return the fields that lines like "Name: value" are."""
    return Headers.of_text(
        (name, value) for name, _, value in (each.partition(":") for each in lines)
    )


def request(method: str = "GET", *lines: str, **given: Any) -> Request:
    """Return a request for http://shop.example/a?b=c."""
    url = {"scheme": "http", "host": b"shop.example", "path": b"/a", "query": b"b=c"}
    return Request(method=method, headers=headers(*lines), **{**url, **given})


# What may be stored


STORED = [
    "Cache-Control: max-age=60",
    "Cache-Control: public",
    "Cache-Control: myprivate",
    "Cache-Control: private-ish, no-storey, no-caches",
    'Cache-Control: ext="private, no-store", max-age=60',
    "Cache-Control: max-age=60, must-revalidate, proxy-revalidate",
    "Cache-Control: ,, max-age=60 ,",
    "Vary: Accept-Language, Accept",
    "Vary: X-*",
    "Content-Type: text/plain",
    "X-Set-Cookie: a=b",
]

NEVER_STORED = [
    "Cache-Control: private",
    "Cache-Control: Private",
    "Cache-Control: PRIVATE, max-age=60",
    "Cache-Control: max-age=60 ,private",
    'Cache-Control: private="Set-Cookie"',
    'Cache-Control: private = "Set-Cookie"',
    'Cache-Control: max-age=60, Private\t=\t"a, b"',
    "Cache-Control: private=x",
    "Cache-Control: no-store",
    "Cache-Control: No-Store",
    "Cache-Control: no-cache",
    'Cache-Control: no-cache="x"',
    "Cache-Control: public, private",
    "Cache-Control: max-age=60; private",
    'Cache-Control: x="unterminated, private',
    "Cache-Control: max-age=60 private",
    "Pragma: no-cache",
    "Set-Cookie: a=b",
    "set-cookie: unrelated=1; Path=/elsewhere",
    "Vary: *",
    "Vary:  * ",
    "Vary: Accept,\t*",
    "Vary: *, Accept",
    "Vary: Accept , * , Cookie",
    "Vary: Accept; Cookie",
    "Vary: Accept Cookie",
    'Vary: "Accept, Cookie',
    "Content-Range: bytes 0-1/2",
]


@pytest.mark.parametrize("line", STORED)
def test_a_response_that_may_be_shared_is_stored(line: str) -> None:
    """What no rule forbids is stored, also where a forbidden word is only part of another."""
    assert may_store(request(), 200, headers(line))


@pytest.mark.parametrize("line", NEVER_STORED)
def test_a_response_that_says_no_is_not_stored(line: str) -> None:
    """One field that forbids it suffices, in whatever case, with blanks, quoted or malformed."""
    assert not may_store(request(), 200, headers("Content-Type: text/plain", line))


@pytest.mark.parametrize("line", NEVER_STORED)
def test_an_earlier_field_does_not_hide_one_that_says_no(line: str) -> None:
    """Of repeated fields each counts."""
    name = line.partition(":")[0]
    harmless = {"Cache-Control": "max-age=60", "Vary": "Accept"}.get(name, "x")
    both = headers(f"{name}: {harmless}", line)
    assert not may_store(request(), 200, both) or name == "Pragma"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get", "PURGE"])
def test_only_get_is_stored(method: str) -> None:
    """A response to HEAD has no body, and one to other methods is of no use to anybody else."""
    assert not may_store(request(method), 200, headers("Cache-Control: public, max-age=60"))


@pytest.mark.parametrize("status", [200, 203, 204, 300, 404, 410, 414, 501])
def test_statuses_cacheable_by_default(status: int) -> None:
    """These responses need not say that they may be stored."""
    assert may_store(request(), status, headers())


@pytest.mark.parametrize("status", [201, 202, 301, 302, 303, 307, 308, 400, 401, 403, 405, 429])
def test_other_statuses_are_stored_if_they_say_so(status: int) -> None:
    """Any other final status is stored only with a lifetime of its own."""
    assert not may_store(request(), status, headers())
    assert may_store(request(), status, headers("Cache-Control: max-age=60"))


@pytest.mark.parametrize("status", [100, 101, 103, 206, 304, 500, 502, 503, 504])
def test_statuses_never_stored(status: int) -> None:
    """Interim and partial responses and errors of the server are not stored, come what may."""
    assert not may_store(request(), status, headers("Cache-Control: public, max-age=60"))


@pytest.mark.parametrize(
    ("line", "response", "stored"),
    [
        ("Authorization: Basic x", "Cache-Control: max-age=60", False),
        ("Authorization: Basic x", "Cache-Control: s-maxage=60, must-revalidate", False),
        ("Authorization: Basic x", "Vary: Authorization", False),
        ("Authorization: Basic x", "Cache-Control: publicly", False),
        ("Authorization: Basic x", "Cache-Control: Public", True),
        ("authorization:", "Cache-Control: max-age=60", False),
        ("Cookie: session=1", "Cache-Control: max-age=60", False),
        ("Cookie:", "Cache-Control: max-age=60", False),
        ("Cookie: session=1", "Cache-Control: max-age=60, public", True),
        ("Cookie: session=1", "Vary: Accept, cookie", True),
        ("Cookie: session=1", "Vary: X-Cookie", False),
        ("Cache-Control: no-store", "Cache-Control: public", False),
        ("Cache-Control: No-Store", "Cache-Control: public", False),
        ("Cache-Control: no-cache", "Cache-Control: public", True),
        ("Cache-Control: max-age=0", "Cache-Control: public", True),
        ("Pragma: no-cache", "Cache-Control: public", True),
        ("Range: bytes=0-1", "Cache-Control: public", False),
        ('If-Match: "a"', "Cache-Control: public", False),
        (f"If-Unmodified-Since: {DATE}", "Cache-Control: public", False),
        ("Content-Length: 1", "Cache-Control: public", False),
        ("Content-Length: 0", "Cache-Control: public", True),
        ("Transfer-Encoding: chunked", "Cache-Control: public", False),
        ("X: " + "a" * 8192, "Cache-Control: public", False),
        ("X: " + "a" * 8191, "Cache-Control: public", True),
    ],
)
def test_what_a_request_has_to_do_with_it(line: str, response: str, stored: bool) -> None:
    """Credentials, `no-store`, ranges, conditions on changes and content keep a page out."""
    assert may_store(request("GET", line), 200, headers(response)) is stored


@pytest.mark.parametrize("response", ["Cache-Control: max-age=60", "Vary: Cookie", "Vary: X-Key"])
def test_a_known_user_has_no_part_in_shared_pages(response: str) -> None:
    """However a user was found, only a `public` page is stored of theirs, or served to them."""
    asked = request(has_user=True)
    assert not may_store(asked, 200, headers(response))
    assert not serves(asked, headers(response))
    assert may_store(asked, 200, headers(response, "Cache-Control: public"))
    assert serves(asked, headers(response, "Cache-Control: public"))


# Freshness


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], 300),
        (["Cache-Control: s-maxage=10, max-age=20", f"Expires: {IN_A_MINUTE}"], 10),
        (["Cache-Control: max-age=20", f"Expires: {IN_A_MINUTE}"], 20),
        (['Cache-Control: MAX-AGE = "20"'], 20),
        ([f"Expires: {IN_A_MINUTE}", f"Date: {DATE}"], 60),
        ([f"Expires: {IN_A_MINUTE}", "Date: Sun, 09 Sep 2001 01:47:10 GMT"], 30),
        ([f"Expires: {IN_A_MINUTE}"], 60),
        ([f"Expires: {DATE}"], 0),
        ([f"Expires: {DATE}", "Date: " + IN_A_MINUTE], 0),
        (["Expires: 0"], 0),
        (["Expires: tomorrow"], 0),
        ([f"Expires: {IN_A_MINUTE}", "Date: today"], 0),
        ([f"Expires: {IN_A_MINUTE}", f"Expires: {DATE}"], 0),
        (["Cache-Control: max-age=20, max-age=20"], 20),
        (["Cache-Control: max-age=20", "Cache-Control: max-age=30"], 0),
        (["Cache-Control: s-maxage=x, max-age=30"], 0),
        (["Cache-Control: max-age"], 0),
        (["Cache-Control: max-age="], 0),
        (["Cache-Control: max-age=-1"], 0),
        (["Cache-Control: max-age=1.5"], 0),
        (["Cache-Control: max-age=٣"], 0),
        (["Cache-Control: max-age=0"], 0),
        (["Cache-Control: max-age=20 s"], 0),
        (["Cache-Control: max-age=99999999999999999999"], FOREVER),
        (["Cache-Control: max-age=00000000020"], 20),
        (["Cache-Control: max-age=20", "Age: 5"], 15),
        (["Cache-Control: max-age=20", "Age: 99999999999"], 0),
        (["Cache-Control: max-age=20", "Age: 25"], 0),
        (["Cache-Control: max-age=20", "Age: old"], 20),
        (["Age: 100"], 200),
        (["Cache-Control: max-age=60", "Date: Sun, 09 Sep 2001 01:46:30 GMT"], 50),
        (["Cache-Control: max-age=60", "Date: Sun, 09 Sep 2001 01:46:30 GMT", "Age: 20"], 40),
        (["Cache-Control: max-age=60", "Date: Sun, 09 Sep 2001 01:46:30 GMT", "Age: 5"], 50),
        (["Cache-Control: max-age=60", f"Date: {IN_A_MINUTE}"], 60),
        (["Cache-Control: max-age=60", "Date: yesterday"], 60),
        (["Date: Sun, 09 Sep 2001 01:45:40 GMT"], 240),
    ],
)
def test_lifetimes(lines: list[str], seconds: float) -> None:
    """`s-maxage`, `max-age`, `Expires`, the default, in this order; malformed is stale."""
    given = Headers(
        (name.encode(), value.strip().encode())
        for name, _, value in (line.partition(":") for line in lines)
    )
    assert lifetime(given, NOW, 300.0) == seconds


def test_a_default_may_be_for_ever() -> None:
    """A page that says nothing lives as long as the caller says, also for ever."""
    assert lifetime(headers(), NOW, None) is None
    assert lifetime(headers("Age: 1"), NOW, None) is None


def test_the_first_age_counts() -> None:
    """Of several ages a response came with, the first is meant; what is no number is none."""
    assert age_on_arrival(headers("Age: 3, 4"), NOW) == 3
    assert age_on_arrival(headers("Age: 3", "Age: 4"), NOW) == 3
    assert age_on_arrival(headers("Age: -3"), NOW) == 0
    assert age_on_arrival(headers("Age: " + "0" * 30 + "3"), NOW) == 3


@pytest.mark.parametrize("digits", ["2147483649", "99999999999", "9" * 30])
def test_an_age_beyond_all_numbers_is_old(digits: str) -> None:
    """It is the greatest there is, and not none (RFC 9111, 1.2.2)."""
    assert age_on_arrival(headers("Age: " + digits), NOW) == FOREVER


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (DATE, NOW),
        ("sUN, 09 SEP 2001 01:46:40 gmt", NOW),
        ("Sunday, 09-Sep-01 01:46:40 GMT", NOW),
        ("Sun Sep  9 01:46:40 2001", NOW),
        ("Sun, 09 Sep 2001 01:46:60 GMT", NOW + 20),
        ("Friday, 09-Sep-50 01:46:40 GMT", 2_546_300_800.0),
        ("Sunday, 09-Sep-51 01:46:40 GMT", 2_577_836_800.0),
        ("Tuesday, 09-Sep-52 01:46:40 GMT", -546_300_800.0),
    ],
)
def test_dates_in_three_forms(text: str, seconds: float) -> None:
    """A year of two digits is at most 50 years ahead (RFC 9110, 5.6.7)."""
    assert parse_date(text, NOW) == seconds


NO_DATES = [
    "",
    "0",
    "1 Jan 2099",
    "Sun, 09 Sep 2001 01:46:40",
    "Sun, 09 Sep 2001 01:46:40 ",
    "Sun, 09 Sep 2001 01:46:40 UTC",
    "Sun, 09 Sep 2001 01:46:40 -0800",
    "Sun, 09 Sep 01 01:46:40 GMT",
    "Sun 09 Sep 2001 01:46:40 GMT",
    "Sun,  09 Sep 2001 01:46:40 GMT",
    "Sun, 9 Sep 2001 01:46:40 GMT",
    "Sun, 09-Sep-2001 01:46:40 GMT",
    "Sun, 09 Sep 2001 1:46:40 GMT",
    "Sun, 09 Sep 2001 01.46.40 GMT",
    "Sun, 09 Sep 2001 24:46:40 GMT",
    "Sun, 09 Sep 2001 01:46:61 GMT",
    "Sun, 31 Sep 2001 01:46:40 GMT",
    "Sun, 09 Sep 0000 01:46:40 GMT",
    "Sun, 0\xb2 Sep 2001 01:46:40 GMT",
    "Son, 09 Sep 2001 01:46:40 GMT",
    "Sunday, 09 Sep 2001 01:46:40 GMT",
    "Sun Sep 9 01:46:40 2001",
    "Sun Sep  9 01:46:40 2001 GMT",
]


@pytest.mark.parametrize("text", NO_DATES)
def test_what_only_looks_like_a_date_is_none(text: str) -> None:
    """An `Expires` that is none is in the past (RFC 9111, 5.3), however lenient others are."""
    assert parse_date(text, NOW) is None
    assert lifetime(Headers([(b"expires", text.encode("latin-1") or b"-")]), NOW, 300.0) == 0


# Conditional requests


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        (['If-None-Match: "a"'], True),
        (['If-None-Match: W/"a"'], True),
        (['If-None-Match: "x", W/"y,z" ,"a"'], True),
        (['If-None-Match: "x"', 'If-None-Match: "a"'], True),
        (["If-None-Match: *"], True),
        (["If-None-Match:  * "], True),
        (['If-None-Match: "b"'], False),
        (["If-None-Match: a"], False),
        (['If-None-Match: "A"'], False),
        (['If-None-Match: "b*"'], False),
        (["If-None-Match:"], False),
        ([f"If-Modified-Since: {DATE}"], True),
        ([f"If-Modified-Since: {IN_A_MINUTE}"], True),
        (["If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT"], False),
        (["If-Modified-Since: then"], False),
        (['If-None-Match: "b"', f"If-Modified-Since: {IN_A_MINUTE}"], False),
        ([], False),
    ],
)
@pytest.mark.parametrize("tag", ['"a"', 'W/"a"'])
def test_who_has_it_already(lines: list[str], known: bool, tag: str) -> None:
    """Tags are compared weakly, in lists and lines; dates only where no tag is sent."""
    page = headers(f"ETag: {tag}", f"Last-Modified: {DATE}")
    assert not_modified(headers(*lines), page, NOW) is known


def test_a_page_without_validators_is_known_to_nobody() -> None:
    """Without a date and a tag of its own there is nothing to compare."""
    assert not not_modified(headers(f"If-Modified-Since: {IN_A_MINUTE}"), headers(), NOW)
    assert not not_modified(headers('If-None-Match: "a"'), headers(), NOW)


def test_a_tag_is_strong_and_of_the_bytes() -> None:
    """Other bytes, another type or another encoding have another tag."""
    plain = headers("Content-Type: text/plain")
    tags = [
        entity_tag(plain, b"a"),
        entity_tag(plain, b"b"),
        entity_tag(headers("Content-Type: text/html"), b"a"),
        entity_tag(headers("Content-Encoding: text/plain"), b"a"),
        entity_tag(headers(), b"text/plaina"),
    ]
    assert len(set(tags)) == len(tags)
    assert tags[0] == entity_tag(headers("content-type:  text/plain".replace("  ", " ")), b"a")
    assert all(tag[0] == tag[-1] == '"' for tag in tags)


# Keys


def test_get_and_head_have_one_key() -> None:
    """The method is no part of the key, nor are fields that no page varies with."""
    assert page_key(request("GET"), "page") == page_key(request("HEAD", "X-A: b"), "page")


@pytest.mark.parametrize(
    "other",
    [
        {"scheme": "https"},
        {"host": b"evil.example"},
        {"host": b"shop.example:443"},
        {"host": b"shop.example:080"},
        {"host": b"shop.example."},
        {"host": b""},
        {"path": b"/A"},
        {"path": b"/a/"},
        {"path": b"//a"},
        {"path": b"/%2561"},
        {"path": b"/%2fa"},
        {"path": b"/./a"},
        {"path": b"/a%"},
        {"path": b"/a%4"},
        {"path": b"/a?b=c", "query": b""},
        {"path": b"/a;x"},
        {"app_path": "/rewritten"},
        {"app_path": "/\udcff"},
        {"query": b""},
        {"query": b"b=c&"},
        {"query": b"B=c"},
        {"query": b"b%3Dc"},
        {"query": b"c&b="},
        {"host": b"shop.example/a", "path": b""},
        {"root_path": "/a"},
        {"application": "admin"},
        {"application": "/a", "root_path": ""},
    ],
)
def test_another_url_is_another_page(other: dict[str, Any]) -> None:
    """Application, scheme, host, path and query count; none runs into the next."""
    assert page_key(request(**other), "page") != page_key(request(), "page")
    assert "X-Forwarded-Host" not in page_key(request("GET", "X-Forwarded-Host: evil"), "page")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"host": b"SHOP.Example"}),
        ({}, {"host": b"shop.example:80"}),
        ({}, {"host": b"shop.example:"}),
        ({"scheme": "https"}, {"scheme": "https", "host": b"Shop.example:443"}),
        ({"host": b"[::1]"}, {"host": b"[::1]:80"}),
        ({}, {"path": b"/%61"}),
        ({}, {"path": b"/%61", "app_path": "/a"}),
        ({"path": b"/~a"}, {"path": b"/%7ea"}),
        ({"path": b"/a%2Fb", "app_path": "/a/b"}, {"path": b"/%61%2fb", "app_path": "/a/b"}),
        ({"path": b"/"}, {"path": b""}),
        ({}, {"query": b"b=%63"}),
        ({"query": b"b=%C3%BC"}, {"query": b"b=%c3%bc"}),
        ({"query": b"ids[]=|"}, {"query": b"ids%5B%5d=%7c"}),
        ({"path": "/ü".encode(), "app_path": "/ü"}, {"path": b"/%C3%BC", "app_path": "/ü"}),
    ],
)
def test_equivalent_spellings_are_one_page(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What the RFCs call the same is one key: case, default ports, escapes, no path.

    So is what they allow to be escaped alone, and clients send bare.
    """
    assert page_key(request(**other), "page") == page_key(request(**one), "page")


def test_what_a_reader_is_not_shown_counts_too() -> None:
    """URLs that differ only where the head of a key does not reach have different keys."""
    host = b"h" * 200
    asked = [
        request(host=host),
        request(host=host + b"h"),
        request(host=host, path=b"/a/b"),
        request(host=host, path=b"/a", scheme="https"),
        request(host=b"h" * 199, path=b"h/a"),
    ]
    assert len({page_key(each, "page") for each in asked}) == len(asked)


def test_forwarded_fields_are_not_trusted() -> None:
    """What a client says about another host is no part of the key."""
    claims = request("GET", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https")
    assert page_key(claims, "page") == page_key(request(), "page")


def test_layers_do_not_meet() -> None:
    """A page from behind an application's middleware is not the one in front of it."""
    assert page_key(request(), "page") != page_key(request(), "endpoint")


def test_a_key_begins_with_what_a_reader_knows() -> None:
    """The head of a key is the host and the path, without what no store takes."""
    key = page_key(request(host=b"shop\xff .example", path=b"/a b\xff" + b"c" * 200), "page")
    assert key.startswith("page:shop.example/a%20b%FFc")
    assert len(key) < 250


def test_variants_never_meet() -> None:
    """Absent is not empty, two fields are not one with a comma, no value runs into the next."""
    asked = [
        headers(),
        headers("A:"),
        headers("A: "),
        headers("A:", "A:"),
        headers("A:,"),
        headers("A:x,y"),
        headers("A:x", "A:y"),
        headers("A:y", "A:x"),
        headers("A:x"),
        headers("A:X"),
        headers("B:x"),
        headers("A:x", "B:"),
        headers("A:", "B:x"),
        headers("A:xB", "B:"),
    ]
    keys = [variant_key("page", b"t", ("a", "b"), each) for each in asked]
    assert len(set(keys)) == len(keys)
    assert variant_key("page", b"t", ("a",), asked[0]) != variant_key(
        "page", b"t", ("b",), asked[0]
    )
    assert variant_key("page", b"t", ("a",), asked[0]) != variant_key(
        "page", b"u", ("a",), asked[0]
    )


def test_a_name_that_is_no_field_selects_nothing() -> None:
    """A record that somebody else wrote may name what no request can have."""
    assert variant_key("page", b"t", ("\u2603",), headers("A:x"))


def test_names_in_vary_have_no_case_and_no_order() -> None:
    """`Vary` is a list over all its lines."""
    assert varying(headers("Vary: B ,a", "vary: A")) == ("a", "b")
    assert varying(headers()) == ()
    assert varying(headers("Vary: a", "Vary: b, *")) is None


# Headers


def test_fields_keep_their_order_and_their_lines() -> None:
    """Repeated fields stay apart, whatever the case of their names."""
    given = headers("A: 1", "b: 2", "a: 3")
    assert given.raw("A") == [b" 1", b" 3"]
    assert given.values("a") == ["1", "3"]
    assert "B" in given
    assert given.text()[1] == ("b", " 2")
    assert repr(given) == "<Headers a, b>"


def test_commas_in_quotes_part_no_members() -> None:
    """A quoted string is one member, whatever is in it."""
    given = headers(r'A: x="1, \", 2" , y', "A: ,z")
    assert given.members("a") == [r'x="1, \", 2"', "y", "z"]


@pytest.mark.parametrize("end", ["", "\\", '"', ",x"])
@pytest.mark.parametrize("piece", ['\\"', '"\\', "\\", '""', '"'])
def test_a_quoted_string_that_is_not_closed_goes_to_the_end(piece: str, end: str) -> None:
    """It is one member, and not looked at again from each of its characters."""
    hostile = '"\\' + piece * 1001 + end
    found = headers(f"A: {hostile}").members("a")
    assert "".join(found) in (hostile, hostile.replace(",", ""))
    assert len(found) <= 2
    assert CacheControl(headers(f"Cache-Control: {hostile}")).malformed


def test_fields_of_one_connection_are_dropped() -> None:
    """Hop-by-hop fields, and those that `Connection` names, are for nobody else."""
    lines = ["Connection: close, X-Own", "x-own: 1", "Keep-Alive: 5", "Transfer-Encoding: chunked"]
    lines += ["TE: x", "Trailer: x", "Upgrade: x", "Proxy-Authenticate: x", "Proxy-Connection: x"]
    assert headers(*lines, "X-Kept: 1").end_to_end().text() == [("X-Kept", " 1")]


def test_what_an_endpoint_declares_is_added_once() -> None:
    """`Vary` gets the names that are missing, `Cache-Control` gets `public`."""
    given = headers("Vary: A")
    assert add_vary(given, ["a"]) is given
    assert varying(add_vary(given, ["b", "C"])) == ("a", "b", "c")
    assert varying(add_vary(headers("Vary: *"), ["b"])) is None
    public = add_public(headers("Cache-Control: max-age=1"))
    assert CacheControl(public).seconds("max-age") == 1
    assert "public" in CacheControl(public)
    assert add_public(public) is public
    assert repr(CacheControl(public)) == "<CacheControl max-age, public>"


# A whole cache


class Site:
    """An origin that counts, in front of it a cache, on both faces."""

    def __init__(self, face: str, clock: FakeClock, **options: Any) -> None:
        self.pages = Pages(clock=clock, **options)
        self.computed = 0
        self._io = BLOCKING if face == "sync" else NATIVE

    async def fetch(
        self,
        asked: Request,
        *lines: str,
        status: int = 200,
        body: bytes | None = None,
        timeout: Any = 300,
        layer: str = "page",
    ) -> Response:
        """Return the answer to a request, by an origin that answers with `lines`."""
        exchange = await self.pages.open(self._io, asked, timeout, layer)
        try:
            return exchange.answer or await self._compute(exchange, lines, status, body)
        finally:
            exchange.release()

    async def _compute(
        self, exchange: Exchange, lines: tuple[str, ...], status: int, body: bytes | None
    ) -> Response:
        self.computed += 1
        text = b"%d" % self.computed if body is None else body
        return await exchange.respond(self._io, Response(status, headers(*lines), text))


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A clock that stands still, and an empty cache in memory that goes by it."""
    clock = FakeClock(NOW)
    configure("memory://", clock=clock)
    caches["default"].clear()
    yield clock
    configure()


@pytest.fixture(params=["sync", "async"])
def site(request: pytest.FixtureRequest, clock: FakeClock) -> Site:
    """A site over a cache in memory, asked by each face."""
    return Site(request.param, clock)


def told(response: Response, name: str) -> str | None:
    """Return the one value of a field of a response."""
    values = response.headers.values(name)
    assert len(values) < 2, values
    return values[0] if values else None


@pytest.mark.parametrize("line", ["X: 1", "Cache-Control: max-age=300", "Cache-Control: public"])
async def test_a_page_is_computed_once_and_grows_old(
    site: Site, clock: FakeClock, line: str
) -> None:
    """A hit has the body, an `Age` that grows, the tag, and the time it has left."""
    first = await site.fetch(request(), line)
    clock.advance(60)
    second = await site.fetch(request())
    assert first.body == second.body == b"1"
    assert [told(each, "age") for each in (first, second)] == [None, "60"]
    assert told(first, "etag") == told(second, "etag")
    assert told(second, "content-length") == "1"
    assert told(first, "cache-status") == "twofold; fwd=miss; stored"
    assert told(second, "cache-status") == "twofold; hit; ttl=240"
    clock.advance(241)
    assert (await site.fetch(request())).body == b"2"


async def test_its_own_tag_date_and_age_stay(site: Site, clock: FakeClock) -> None:
    """An application's validators are kept, and the age that a page came with is counted on."""
    await site.fetch(request(), 'ETag: W/"own"', f"Date: {DATE}", "Age: 7")
    clock.advance(3)
    hit = await site.fetch(request())
    assert [told(hit, name) for name in ("etag", "date", "age")] == ['W/"own"', DATE, "10"]


async def test_head_is_served_from_a_get_and_never_stored(site: Site) -> None:
    """HEAD gets the fields of the stored page; its own response is nobody's page."""
    assert (await site.fetch(request("HEAD"), body=b"")).body == b""
    page = await site.fetch(request())
    head = await site.fetch(request("HEAD"))
    assert (page.body, head.body) == (b"2", b"")
    assert told(head, "content-length") == "1"
    assert told(head, "etag") == told(page, "etag")
    assert site.computed == 2


async def test_304_carries_what_it_must(site: Site) -> None:
    """A client that has the page gets the fields of RFC 9110, 15.4.5, and nothing else."""
    lines = ["Cache-Control: max-age=9", f"Expires: {DATE}", f"Date: {DATE}", "Vary: Accept"]
    lines += ["Content-Location: /b", "Content-Type: text/plain", "X-Other: 1"]
    page = await site.fetch(request(), *lines)
    for method in ("GET", "HEAD"):
        asked = request(method, f"If-None-Match: {told(page, 'etag')}")
        known = await site.fetch(asked)
        assert (known.status, known.body) == (304, b"")
        names = {name.lower() for name, _ in known.headers.text()}
        assert names == {
            *("age", "cache-control", "cache-status", "content-location", "date", "etag"),
            *("expires", "vary"),
        }
    assert site.computed == 1


async def test_the_first_who_asks_may_have_it_already(site: Site) -> None:
    """Also a page that was just computed is compared with what the client has."""
    tag = told(await site.fetch(request(query=b"other"), body=b"same"), "etag")
    fresh = await site.fetch(request("GET", f"If-None-Match: {tag}"), body=b"same")
    assert fresh.status == 304
    assert told(fresh, "cache-status") == "twofold; fwd=miss; stored"
    assert (await site.fetch(request())).body == b"same"


async def test_only_a_200_becomes_a_304(site: Site) -> None:
    """Conditions are for successful responses (RFC 9110, 13.2.1)."""
    asked = request("GET", "If-None-Match: *")
    for _ in range(2):
        assert (await site.fetch(asked, 'ETag: "a"', status=404)).status == 404
    assert site.computed == 1


async def test_variants_are_kept_apart(site: Site) -> None:
    """Each value of a field in `Vary` has a page of its own; absent and empty are two."""
    asked = [
        request(),
        request("GET", "Accept:"),
        request("GET", "Accept: a"),
        request("GET", "Accept: a", "Accept: b"),
        request("GET", "Accept: a, b"),
    ]
    first = [(await site.fetch(each, "Vary: Accept")).body for each in asked]
    again = [(await site.fetch(each)).body for each in asked]
    assert first == again
    assert len(set(first)) == len(asked)


@pytest.mark.parametrize("allowed", ["http://a.example", None])
async def test_pages_for_origins_are_apart(site: Site, allowed: str | None) -> None:
    """Where `Vary` is said to none or to one of them, each still gets what was made for it."""
    lines = [f"Access-Control-Allow-Origin: {allowed}"] if allowed else []
    origins = ["Origin: http://a.example", "Origin: http://b.example"]
    for _ in range(2):
        assert (await site.fetch(request())).body == b"1"
        assert (await site.fetch(request("GET", origins[0]), *lines)).body == b"2"
        other = await site.fetch(request("GET", origins[1]))
        assert (other.body, told(other, "vary")) == (b"3", "origin")
    await site.fetch(request("POST"))
    assert (await site.fetch(request("GET", origins[0]))).body == b"5"


async def test_a_page_for_any_origin_is_one(site: Site) -> None:
    """What may be read by whatever site is stored once for all that name themselves."""
    for name in "ab":
        asked = request("GET", f"Origin: http://{name}.example")
        page = await site.fetch(asked, "Access-Control-Allow-Origin: *")
        assert (page.body, told(page, "vary")) == (b"1", None)


async def test_credentials_never_meet_anothers_page(site: Site) -> None:
    """Users with cookies or `Authorization` get neither each other's page nor the anonymous one."""
    asked = [request("GET", f"{name}: {n}") for name in ("Cookie", "Authorization") for n in "12"]
    asked = [request(), *asked, request("HEAD", "Cookie: 1")]
    for _ in range(2):
        bodies = [(await site.fetch(each)).body for each in asked]
        assert len(set(bodies)) == len(asked)
    assert site.computed == 1 + 2 * 5


async def test_a_public_page_is_for_all(site: Site) -> None:
    """With `public` it does not matter what credentials a request has, whoever asked first."""
    asked = [request("GET", "Cookie: 1"), request("GET", "Authorization: x"), request()]
    bodies = {(await site.fetch(each, "Cache-Control: public")).body for each in asked}
    assert bodies == {b"1"}


async def test_credentials_have_turns_of_their_own(site: Site) -> None:
    """That a page is not shared among those who send cookies says nothing of all others."""
    for lines in (["Cookie: 1"], ["Authorization: 1"], ["Authorization: 1", "Cookie: 1"]):
        await site.fetch(request("GET", *lines))
    exchange = await site.pages.open(site._io, request())
    assert exchange.turn is not None
    assert exchange.turn.leads
    exchange.release()


async def test_cookies_may_vary(site: Site) -> None:
    """A page that says `Vary: Cookie` is kept for each cookie, and for none."""
    asked = [request("GET", f"Cookie: {n}") for n in "12"] + [request()]
    for _ in range(2):
        bodies = [(await site.fetch(each, "Vary: Cookie")).body for each in asked]
        assert bodies == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "asked",
    [
        *(
            request("GET", line)
            for line in (
                "Range: bytes=0-0",
                'If-Range: "a"',
                'If-Match: "a"',
                "Content-Length: 5",
                "Cache-Control: " + "only-if-cached," * 600,
            )
        ),
        request(has_content=True),
    ],
)
async def test_requests_that_pass(site: Site, asked: Request) -> None:
    """Such requests are answered by the application, though there is a page."""
    await site.fetch(request())
    passed = await site.fetch(asked)
    assert passed.body == b"2"
    assert told(passed, "cache-status") == "twofold; fwd=bypass"
    assert (await site.fetch(request())).body == b"1"


@pytest.mark.parametrize(
    "line", ["Cache-Control: no-cache", "Cache-Control: max-age=0", "Pragma: no-cache"]
)
async def test_a_client_cannot_have_pages_computed_at_will(site: Site, line: str) -> None:
    """Advice of a request is not taken: reloading costs the application nothing."""
    await site.fetch(request())
    assert (await site.fetch(request("GET", line))).body == b"1"


async def test_no_store_of_a_request(site: Site) -> None:
    """It may be answered from the cache, and what it has computed is not stored."""
    asked = request("GET", "Cache-Control: no-store")
    assert [(await site.fetch(asked)).body for _ in range(2)] == [b"1", b"2"]
    assert (await site.fetch(request())).body == b"3"
    assert (await site.fetch(asked)).body == b"3"


async def test_only_if_cached(site: Site) -> None:
    """Who wants only what is stored gets that, or a 504 (RFC 9111, 5.2.1.7)."""
    asked = request("GET", "Cache-Control: only-if-cached")
    assert (await site.fetch(asked)).status == 504
    await site.fetch(request())
    assert (await site.fetch(asked)).body == b"1"
    assert site.computed == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "UNKNOWN"])
async def test_a_change_removes_the_page_and_its_variants(site: Site, method: str) -> None:
    """After a successful unsafe request the page is computed anew, in both layers."""
    other = request("GET", "Accept: a")
    for layer in ("page", "endpoint"):
        for asked in (request(), other):
            await site.fetch(asked, "Vary: Accept", layer=layer)
    changed = await site.fetch(request(method), status=303)
    assert told(changed, "cache-status") is None
    for layer, body in (("page", b"6"), ("endpoint", b"7")):
        assert (await site.fetch(request(), "Vary: Accept", layer=layer)).body == body
    assert (await site.fetch(other, "Vary: Accept")).body == b"8"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("status", [200, 201, 303])
@pytest.mark.parametrize("field", ["Location", "content-location"])
@pytest.mark.parametrize(
    ("reference", "removed"),
    [
        ("/items/~7", True),
        ("~7", True),
        ("../items/%7E7", True),
        ("http://shop.example/items/~7", True),
        ("http://SHOP.example:80/items/%7e7#note", True),
        ("//shop.example/items/~7", True),
        ("/mounted/items/~7", True),
        ("https://shop.example/items/~7", False),
        ("http://shop.example:81/items/~7", False),
        ("http://user@shop.example/items/~7", False),
        ("http://evil.example/items/~7", False),
        ("/items/~7?x", False),
        ("http://[", False),
    ],
)
async def test_a_change_removes_what_it_names(
    site: Site, method: str, status: int, field: str, reference: str, removed: bool
) -> None:
    """The 404 of what a POST has created is gone, at the same origin (RFC 9111, 4.4)."""
    mounted: dict[str, Any] = {"query": b"", "root_path": "/mounted"}
    item = request(**mounted, path=b"/items/~7", app_path="/items/~7")
    await site.fetch(item, status=404)
    posted = request(method, **mounted, path=b"/items/new")
    await site.fetch(posted, f"{field}: {reference}", status=status)
    assert (await site.fetch(item)).status == (200 if removed else 404)


async def test_what_is_named_in_other_alphabets_is_escaped(site: Site) -> None:
    """A reference is taken as a client takes it, which escapes what it must."""
    item = request(path=b"/caf%C3%A9", query=b"b=%C3%A9")
    await site.fetch(item)
    located = Headers([(b"location", "/café?b=é".encode())])
    exchange = await site.pages.open(site._io, request("POST"))
    await exchange.respond(site._io, Response(201, located, b""))
    assert (await site.fetch(item)).body == b"2"


@pytest.mark.parametrize(("method", "status"), [("POST", 400), ("POST", 500), ("OPTIONS", 200)])
async def test_no_change_removes_nothing(site: Site, method: str, status: int) -> None:
    """A failed change, or a safe method, leaves the page."""
    await site.fetch(request())
    await site.fetch(request(method), status=status)
    assert (await site.fetch(request())).body == b"1"


async def test_a_change_during_the_computation(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was computed before a change is not stored after it, nor while it happens."""
    exchange = await site.pages.open(site._io, request())
    await site.fetch(request("POST"))
    assert (await site.fetch(request(), body=b"new")).body == b"new"
    stale = await exchange.respond(site._io, Response(200, headers(), b"stale"))
    assert told(stale, "cache-status") == "twofold; fwd=miss"
    assert (await site.fetch(request())).body == b"new"
    await site.fetch(request("POST"))
    exchange = await site.pages.open(site._io, request())
    keep = site.pages.store.keep

    async def crossed(*args: Any) -> bool:
        await site.fetch(request("POST"))
        return await keep(*args)

    monkeypatch.setattr(site.pages.store, "keep", crossed)
    await exchange.respond(site._io, Response(200, headers(), b"stale"))
    monkeypatch.undo()
    assert (await site.fetch(request())).body == b"4"


@pytest.mark.parametrize(
    ("lines", "body", "timeout"),
    [
        (["Content-Length: 5"], b"half", 300),
        (["Content-Length: 4", "Content-Length: 5"], b"half", 300),
        (["Cache-Control: max-age=0"], b"", 300),
        ([], b"", 0),
        ([], b"x" * 11, 300),
    ],
)
async def test_what_is_not_worth_storing(
    clock: FakeClock, lines: list[str], body: bytes, timeout: float
) -> None:
    """A half body, a stale page and one over the bound pass, without a tag."""
    site = Site("async", clock, max_body=10)
    for _ in range(2):
        passed = await site.fetch(request(), *lines, body=body, timeout=timeout)
        assert (passed.body, told(passed, "etag")) == (body, None)
    assert site.computed == 2


async def test_a_stream_passes(site: Site) -> None:
    """A response that nobody has as a whole is not stored, and nobody waits for it."""
    exchange = await site.pages.open(site._io, request())
    passed = await exchange.respond(site._io, Response(200, headers("X: 1"), None))
    assert passed.body is None
    assert told(passed, "cache-status") == "twofold; fwd=miss"
    assert exchange.turn is not None
    assert exchange.turn.released


async def test_fields_of_the_connection_are_not_stored(site: Site) -> None:
    """Who computes gets them, and nobody else."""
    first = await site.fetch(request(), "Connection: X-Own", "X-Own: 1", "X-All: 2")
    again = await site.fetch(request())
    assert told(first, "x-all") == told(again, "x-all") == "2"
    assert told(again, "x-own") is told(again, "connection") is None


async def test_another_caches_status_stays(site: Site) -> None:
    """What a cache behind us said comes first, as RFC 9211 has it."""
    await site.fetch(request(), "Cache-Status: inner; hit")
    hit = await site.fetch(request())
    assert hit.headers.values("cache-status") == ["inner; hit", "twofold; hit; ttl=300"]


async def test_a_clock_that_was_set_back(site: Site, clock: FakeClock) -> None:
    """A page from the future is of unknown age, and is not served."""
    await site.fetch(request())
    clock.shift(-3600)
    assert (await site.fetch(request())).body == b"2"


async def test_a_page_may_live_for_ever(site: Site, clock: FakeClock) -> None:
    """A timeout of None keeps a page until it is invalidated."""
    await site.fetch(request(), timeout=None)
    clock.advance(10**8)
    hit = await site.fetch(request())
    assert told(hit, "cache-status") == "twofold; hit"


DAMAGED: list[Any] = [
    None,
    "page",
    b"page1",
    (),
    ("page1",),
    ("page1", "200", (), b"", 1.0, 1.0, 0),
    ("page1", 200, (), "text", 1.0, 1.0, 0),
    ("page1", 200, ((b"a",),), b"", 1.0, 1.0, 0),
    ("page1", 200, (("a", "b"),), b"", 1.0, 1.0, 0),
    ("page1", 200, (), b"", None, 1.0, 0),
    ("page1", 200, (), b"", 1.0, "1", 0),
    ("page1", 200, (), b"", 1.0, 1.0),
    ("page2", 200, (), b"", 1.0, 1.0, 0),
    ("page1", True, (), b"", 1.0, 1.0, 0),
    ("page1", 99, (), b"", 1.0, 1.0, 0),
    ("page1", 101, (), b"", 1.0, 1.0, 0),
    ("page1", 600, (), b"", 1.0, 1.0, 0),
    ("page1", 10**5000, (), b"", 1.0, 1.0, 0),
    ("page1", 204, (), b"body", 1.0, 1.0, 0),
    *(
        ("page1", 200, ((b"a", b"b"), field), b"", 1.0, 1.0, 0)
        for field in (
            (b"a", b"b\r\nset-cookie: c"),
            (b"a", b"b\nc:d"),
            (b"a", b"b\r"),
            (b"a", b"b\0"),
            (b"a", b"b\n"),
            (b"a\n", b"b"),
            (b"a\r\nb", b"c"),
            (b"a\0", b"b"),
            (b"a b", b"c"),
            (b"", b"b"),
            (b"\xe4", b"b"),
            (b"a", 1),
            (b"a", None),
            (b"a", b"b", b"c"),
            b"ab",
            5,
            (b"content-length", b"1"),
            (b"Content-Length", b"00"),
            (b"transfer-encoding", b"chunked"),
            (b"transfer-encoding", b"0"),
        )
    ),
    ("page1", 200, (), b"", float("nan"), 1.0, 0),
    ("page1", 200, (), b"", float("inf"), 1.0, 0),
    ("page1", 200, (), b"", 1.0, float("inf"), 0),
    ("page1", 200, (), b"", 1.0, float("nan"), 0),
    ("page1", 200, (), b"", 1.0, -1.0, 0),
    ("page1", 200, (), b"", 1.0, 1.0, -1),
    ("page1", 200, (), b"", 1.0, 1.0, 10**5000),
    ("vary1", "abc", b"t"),
    ("vary1", (1,), b"t"),
    ("vary1", ("a",), "t"),
    {"page1": 1},
]


@pytest.mark.parametrize("stored", DAMAGED, ids=range(len(DAMAGED)))
async def test_what_cannot_be_read_is_a_miss(site: Site, stored: Any) -> None:
    """A value of another program, or another version, is computed anew."""
    assert read(stored) is None
    caches["default"].set(page_key(request(), "page"), stored)
    assert (await site.fetch(request())).body == b"1"
    assert (await site.fetch(request())).body == b"1"


def test_what_a_view_said_is_only_that() -> None:
    """A page that somebody else wrote cannot hide a field of framing among those of a view."""
    own = [b"ETag:a", b"age:1", b"transfer-encoding:chunked", b"etag", b"x y:z", b""]
    fields = [(b"twofold-view", b"v"), *((b"twofold-own", each) for each in own)]
    made = replay_of(Response(200, Headers([*fields, (b"cache-status", b"twofold")]), b"")).made
    assert made.headers.pairs == ((b"ETag", b"a"), (b"etag", b""))


async def test_a_record_where_a_page_belongs_is_a_miss(site: Site) -> None:
    """A variant's key leads to a page or to nothing."""
    record = Varied(("a",), b"t")
    first = page_key(request(), "page")
    caches["default"].set(first, record.plain())
    caches["default"].set(variant_key(first, b"t", ("a",), headers()), record.plain())
    assert (await site.fetch(request())).body == b"1"


def test_what_is_stored_is_read_back() -> None:
    """Pages and records come back as they were."""
    page = Page(200, Headers([(b"a", b"b")]), b"body", 1.0, None, 3)
    back = read(page.plain())
    assert isinstance(back, Page)
    assert back.plain() == page.plain() == ("page1", 200, ((b"a", b"b"),), b"body", 1.0, None, 3)
    assert read(Varied(("a",), b"t").plain()) == Varied(("a",), b"t")


@pytest.mark.parametrize("on_error", ["raise", "miss"])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_an_outage_costs_the_cache_alone(
    caplog: pytest.LogCaptureFixture, on_error: str, face: str, tmp_path: Path
) -> None:
    """Pages go on, and the log says so once for each outage."""
    options = {"inner": f"sqlite:///{tmp_path}/cache.db", "blocking_calls": "allow"}
    backend = {"BACKEND": "twofold.testing.ChaosBackend"}
    configure({"default": {**backend, "OPTIONS": {"on_error": on_error, **options}}})
    site = Site(face, FakeClock(NOW))
    chaos: Any = caches["default"].backend
    with caplog.at_level(logging.WARNING, "twofold"):
        for _ in range(2):
            chaos.failure_rate = 1.0
            for _ in range(3):
                assert (await site.fetch(request())).status == 200
            await site.fetch(request("DELETE"))
            chaos.failure_rate = 0.0
            await site.fetch(request("GET", "Cookie: a"))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


async def test_whatever_a_store_raises_costs_the_cache_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also errors that are not of twofold's, as of a user's serializer, cost no page."""
    for name in ("get", "set", "aget", "aset"):

        def broken(*_: Any, **__: Any) -> Any:
            raise OSError("broken")

        monkeypatch.setattr(caches["default"], name, broken)
    for body in (b"1", b"2"):
        assert (await site.fetch(request())).body == body
    assert len(caplog.records) == 1
    assert site.pages.store.failures
    assert "failures=" in repr(site.pages)


async def test_a_store_that_cannot_claim_costs_the_cache_alone(clock: FakeClock) -> None:
    """Whatever its own errors are, a page is computed, and the store is told of once."""
    broken = ChaosBackend(
        inner=DictBackend(), failure_rate=1.0, error=OSError, operations=["get_or_claim"]
    )
    cache = Cache(broken)
    site = Site("async", clock, cache=cache)
    assert [(await site.fetch(request())).body for _ in range(2)] == [b"1", b"2"]
    assert site.pages.store.failures == 1  # the second computes beside, since nothing was shared
    await cache.aclose()


async def test_json_cannot_hold_pages(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A serializer that cannot hold bytes costs the cache, and the log names what to choose."""
    url = f"sqlite:///{tmp_path}/cache.db"
    configure({"default": {"LOCATION": url, "SERIALIZER": "json"}})
    site = Site("async", FakeClock(NOW))
    assert [(await site.fetch(request())).body for _ in range(2)] == [b"1", b"2"]
    assert len(caplog.records) == 1
    assert "SERIALIZER" in caplog.text


async def test_an_alias_that_is_not_there_is_an_error(clock: FakeClock) -> None:
    """A wrong setting is no outage: it is told at the first request."""
    with pytest.raises(SettingsError, match="no cache 'pages'"):
        await Site("async", clock, cache="pages").fetch(request())
    assert issubclass(SettingsError, CacheError)


async def test_a_cache_may_be_given_itself(clock: FakeClock) -> None:
    """A `Cache` does in the place of its alias."""
    site = Site("async", clock, cache=caches["default"])
    assert [(await site.fetch(request())).body for _ in range(2)] == [b"1", b"1"]
    assert repr(await site.pages.open(NATIVE, request())).startswith("<Exchange GET b'/a'")


def test_bodies_run_without_a_loop(clock: FakeClock) -> None:
    """The sync face is the same body, driven to its end at once."""
    site = Site("sync", clock)
    assert [run_sync(site.fetch(request())).body for _ in range(2)] == [b"1", b"1"]
