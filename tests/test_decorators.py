"""`@cached`: functions in, the same functions with a cache out."""

import asyncio
import copy
import functools
import inspect
import pickle
import subprocess
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cloudpickle
import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from pydantic import BaseModel

from tests import opcodes
from twofold import (
    AsyncCached,
    AwaitableResult,
    BlockingCallInEventLoop,
    Cache,
    Cached,
    CannotSerialize,
    InvalidTimeout,
    SettingsError,
    UnstableArgument,
    cache,
    cached,
    caches,
    close_all,
    configure,
)
from twofold.backends.memory import MemoryBackend


@pytest.fixture(autouse=True)
def settings(tmp_path: Any) -> Iterator[None]:
    """One alias that never blocks and one that does."""
    configure(
        {
            "default": {"BACKEND": "memory", "LOCATION": str(tmp_path)},
            "disk": {"BACKEND": "sqlite", "LOCATION": str(tmp_path / "cache.db")},
            "outer": {"BACKEND": "memory", "LOCATION": f"{tmp_path}/outer"},
        }
    )
    yield
    close_all()


calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    """Start each test with no calls noted."""
    calls.clear()


@cached
def double(number: int, *, note: str = "") -> int:
    """Return twice the number."""
    calls.append((number, note))
    return 2 * number


@cached(timeout="10m")
async def adouble(number: int, *, note: str = "") -> int:
    """Return twice the number, later."""
    calls.append((number, note))
    await asyncio.sleep(0)
    return 2 * number


@dataclass(frozen=True)
class Shop:
    """A thing whose fields are its identity."""

    name: str

    @cached
    def price(self, item: str) -> str:
        calls.append(item)
        return f"{self.name}: {item}"

    @cached
    async def stock(self, item: str) -> str:
        calls.append(item)
        return f"{self.name} has {item}"

    @cached
    @classmethod
    def named(cls, name: str) -> str:
        calls.append(name)
        return f"{cls.__name__} {name}"

    @classmethod
    @cached
    def called(cls, name: str) -> str:
        calls.append(name)
        return f"{cls.__name__} {name}"

    @cached
    @staticmethod
    def tax(country: str) -> str:
        calls.append(country)
        return country


class Branch(Shop):
    """A subclass, whose class methods have keys of their own."""


def test_def_stays_def() -> None:
    """A sync function runs once per arguments, however these are passed."""
    assert isinstance(double, Cached)
    assert [double(2), double(number=2), double(2, note="")] == [4, 4, 4]
    assert calls == [(2, "")]
    assert not iscoroutinefunction(double)


async def test_async_def_stays_async_def() -> None:
    """An async function is awaited as before, and known as one to frameworks."""
    assert isinstance(adouble, AsyncCached)
    assert [await adouble(2), await adouble(number=2)] == [4, 4]
    assert calls == [(2, "")]
    assert iscoroutinefunction(adouble)
    assert inspect.iscoroutinefunction(adouble.__call__)


def test_the_function_keeps_its_face() -> None:
    """Name, docstring, module, signature and the function itself can be read."""
    assert double.__name__ == "double"
    assert double.__doc__ == "Return twice the number."
    assert double.__module__ == __name__
    assert str(inspect.signature(double)) == "(number: int, *, note: str = '') -> int"
    assert double.__wrapped__(3) == 6
    assert str(inspect.signature(Shop("a").price)) == "(item: str) -> str"
    assert "double" in repr(double)
    assert pickle.loads(pickle.dumps(double)) is double


def test_arguments_that_differ_never_meet() -> None:
    """Values of different types, and texts with separators in them, have keys of their own."""

    @cached
    def kind(value: Any) -> str:
        return repr(value)

    values = [1, "1", True, 1.0, None, "", "None", ["a", "b"], ("a", "b"), "a:b", ["a:b"], b"1"]
    assert [kind(value) for value in values] == [repr(value) for value in values]
    assert [kind(value) for value in values] == [repr(value) for value in values]


def test_an_argument_without_identity_is_refused_with_the_ways_out() -> None:
    """The message names the parameter, the type and the three things to do."""

    @cached
    def takes(thing: object) -> int:
        return 1

    with pytest.raises(UnstableArgument) as caught:
        takes(object())
    for part in ("thing", "object", "key=", "ignore=", "__cache_key__"):
        assert part in str(caught.value)


def test_ignored_parameters_and_templates() -> None:
    """`ignore` leaves a parameter out of the key; a template makes the key by itself."""

    @cached(ignore=("db",), key="user:{user}")
    def profile(user: int, db: object) -> int:
        calls.append(user)
        return user

    assert profile.key(3, object()) == "user:3"
    assert [profile(3, object()), profile(3, object())] == [3, 3]
    assert calls == [3]
    with pytest.raises(SettingsError, match="user"):
        cached(key="user:{usr}")(lambda user: user)


def test_no_keyword_of_the_function_is_eaten() -> None:
    """A function may have parameters named like anything of ours."""

    @cached
    def odd(self: int, key: int, value: int, timeout: int, version: int, default: int) -> int:
        return self + key + value + timeout + version + default

    given = {"self": 1, "key": 2, "value": 3, "timeout": 4, "version": 5, "default": 6}
    assert odd(**given) == 21
    assert odd.get(**given) == 21
    assert odd.set(5, **given)
    assert odd.invalidate(**given)


def test_none_is_cached_and_errors_are_not() -> None:
    """A returned None is a hit next time; an exception runs the function again."""

    @cached
    def maybe(fails: bool) -> None:
        calls.append(fails)
        if fails:
            raise KeyError("no")

    maybe(False)
    maybe(False)
    for _ in range(2):
        with pytest.raises(KeyError):
            maybe(True)
    assert calls == [False, True, True]


def test_a_condition_decides_what_is_stored() -> None:
    """What `condition` says no to is returned, and computed again."""

    @cached(condition=lambda value: value > 0)
    def sign(number: int) -> int:
        calls.append(number)
        return number

    assert [sign(1), sign(1), sign(-1), sign(-1)] == [1, 1, -1, -1]
    assert calls == [1, -1, -1]


def test_the_cache_of_a_function_by_its_arguments() -> None:
    """`get`, `set`, `refresh` and `invalidate` take the function's own arguments."""
    assert double.get(5) is None
    assert double.set(11, 5)
    assert double(5) == double.get(5) == 11
    assert double.refresh(5) == double(5) == 10
    assert double.invalidate(5) is True
    assert double.invalidate(5) is False
    assert calls == [(5, "")]


async def test_the_same_in_the_async_face() -> None:
    """The `a` twins do the same, on functions of either kind."""
    for function in (double, adouble):
        assert await function.aget(5) is None
        assert await function.aset(11, 5)
        assert await function.aget(5) == 11
        assert await function.arefresh(5) == 10
        assert await function.aget(5) == 10
        assert await function.ainvalidate(5) is True
    with pytest.raises(AwaitableResult, match="`a` prefix"):
        adouble.refresh(5)


def test_cache_info_counts() -> None:
    """Hits, misses and runs are counted per function."""

    @cached
    def one() -> int:
        return 1

    for _ in range(3):
        one()
    assert one.cache_info() == (2, 1, 1)


@pytest.mark.parametrize("alias", ["default", "disk"])
def test_cache_clear_removes_this_function_alone(alias: str) -> None:
    """Every entry of the function goes, long keys included; those of others stay."""

    @cached(cache=alias)
    def mine(text: str) -> int:
        calls.append(text)
        return len(text)

    @cached(cache=alias)
    def other(text: str) -> int:
        calls.append("other")
        return 0

    texts = ["a", "b" * 400, "ü"]
    other("a")
    for text in texts:
        mine(text)
    mine.cache_clear()
    assert [mine.get(text) for text in texts] == [None] * 3
    assert other.get("a") == 0
    free = cached(key=lambda text: text)(lambda text: text)
    with pytest.raises(SettingsError, match="no prefix in common"):
        free.cache_clear()


@pytest.mark.parametrize("alias", ["default", "disk"])
def test_cache_clear_of_a_bound_method_is_of_its_object(alias: str) -> None:
    """What other objects computed stays; with a `key=` all goes, and so where `self` is ignored."""

    class Shelf:
        def __init__(self, name: str) -> None:
            self.name = name

        def __cache_key__(self) -> str:
            return self.name

        @cached(cache=alias)
        def price(self, number: int, *more: int) -> int:
            return number

        @cached(cache=alias, key="shelf:{self.name}:{number}")
        def named(self, number: int) -> int:
            return number

        @cached(cache=alias, ignore=("self",))
        def shared(self, number: int) -> int:
            return number

    shelves = Shelf("l"), Shelf("le")
    for method in ("price", "named", "shared"):
        for shelf in shelves:
            for number in (1, 2):
                getattr(shelf, method)(number)
        getattr(shelves[0], method).cache_clear()
        left = [getattr(shelf, method).get(number) for shelf in shelves for number in (1, 2)]
        assert left == ([None, None, 1, 2] if method == "price" else [None] * 4), method
    Shelf.price.cache_clear()
    assert shelves[1].price.get(1) is None


def test_methods_bind() -> None:
    """A method's `self` is part of its key, by its identity."""
    one, two = Shop("one"), Shop("two")
    assert [one.price("tea"), one.price("tea"), two.price("tea")] == [
        "one: tea",
        "one: tea",
        "two: tea",
    ]
    assert calls == ["tea", "tea"]
    assert one.price.get("tea") == "one: tea"
    assert Shop.price.get(one, "tea") == "one: tea"
    assert one.price.invalidate("tea")
    assert two.price.get("tea") == "two: tea"


async def test_async_methods_bind() -> None:
    """An async method does so too."""
    shop = Shop("one")
    assert [await shop.stock("tea"), await shop.stock("tea")] == ["one has tea"] * 2
    assert calls == ["tea"]
    assert iscoroutinefunction(shop.stock)


def test_class_and_static_methods() -> None:
    """Class methods have a key for each class, static methods one for all."""
    assert [Shop.named("a"), Branch.named("a"), Shop("x").named("a")] == [
        "Shop a",
        "Branch a",
        "Shop a",
    ]
    assert [Shop.called("a"), Branch.called("a"), Shop.called("a")] == [
        "Shop a",
        "Branch a",
        "Shop a",
    ]
    assert Branch.named.get("a") == "Branch a"
    assert [Shop.tax("de"), Shop("x").tax("de"), Shop.tax.get("de")] == ["de"] * 3
    assert calls == ["a", "a", "a", "a", "de"]


def test_a_method_of_an_object_without_identity_says_what_to_do() -> None:
    """The default `object` has no identity: `self` is refused, with the ways out."""

    class Plain:
        @cached
        def method(self) -> int:
            return 1

    with pytest.raises(UnstableArgument, match="self"):
        Plain().method()


def test_a_caller_never_changes_what_another_reads() -> None:
    """Every caller has a mutable result to itself."""

    @cached
    def items() -> list[int]:
        return [1]

    items().append(2)
    items().append(3)
    assert items() == [1]


@pytest.mark.parametrize(
    ("django", "thread"), [(True, r"sync_to_async\(\S+slow\)\("), (False, r"to_thread\(\S+slow, ")]
)
async def test_a_blocking_store_in_a_loop_is_named(
    django: bool, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync function cached on disk, called in a loop, says what to do instead."""
    monkeypatch.delitem(sys.modules, "django.core", raising=False)
    if django:
        monkeypatch.setitem(sys.modules, "django.core", sys)

    @cached(cache="disk")
    def slow(number: int) -> int:
        return number

    with pytest.raises(BlockingCallInEventLoop, match=rf"slow.*async def.*{thread}"):
        slow(1)
    assert await sync_to_async(slow)(1) == 1
    assert await slow.aget(1) == 1


async def test_concurrent_calls_share_one_run() -> None:
    """A hundred tasks that miss the same arguments together run the function once."""
    assert await asyncio.gather(*(adouble(7) for _ in range(100))) == [14] * 100
    assert calls == [(7, "")]


def test_concurrent_threads_share_one_run() -> None:
    """So do threads."""
    gate = threading.Barrier(8)

    @cached(cache="disk")
    def slow() -> int:
        calls.append(1)
        return 1

    def call(_: int) -> int:
        gate.wait(10)
        return slow()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(8))) == [1] * 8
    assert calls == [1]


def test_a_cache_may_be_given_itself() -> None:
    """`cache=` takes a cache as well as an alias, and an unknown alias is named."""
    store: Cache = caches["disk"]

    @cached(cache=store)
    def one() -> int:
        return 1

    assert one() == 1
    assert store.get(one.key()) == 1
    with pytest.raises(SettingsError, match="did you mean 'disk'"):
        cached(cache="dsk")(double.__wrapped__)(1)


def test_what_cannot_work_is_refused_when_decorating() -> None:
    """Generators, things that are no functions, and odd timeouts are errors at once."""

    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(SettingsError, match="generator"):
        cached(numbers)
    with pytest.raises(SettingsError, match="functions"):
        cached(3)  # type: ignore[call-overload]
    with pytest.raises(InvalidTimeout):
        cached(timeout="soon")(double.__wrapped__)


def test_what_cannot_be_stored_is_returned(caplog: pytest.LogCaptureFixture) -> None:
    """It is told of once, with its type and what to do."""
    store = caches["disk"]

    @cached(cache=store)
    def thing(_: int) -> object:
        return Shop("one")

    assert [thing(n).name for n in (1, 1, 2)] == ["one"] * 3  # type: ignore[attr-defined]
    assert thing.cache_info().computed == store.stats().unserializable + 1 == 3
    (record,) = caplog.records
    assert "thing()" in record.message
    assert "Shop" in record.message
    assert "SERIALIZER" in record.message


def test_what_can_be_stored_is_all_the_same() -> None:
    """What else a function returns, or one that was made of the same lines."""

    def make(name: str) -> Any:
        @cached(cache="disk", key=f"{name}:{{number}}")
        def thing(number: int) -> object:
            calls.append((number, name))
            return Shop("one") if number == 1 else number

        return thing

    one, other = make("one"), make("other")
    for _ in range(2):
        one(1)
        assert (one(2), other(2)) == (2, 2)
    assert sorted(calls) == [(1, "one"), (1, "one"), (2, "one"), (2, "other")]


def test_what_cannot_be_stored_may_be_an_error(tmp_path: Path) -> None:
    """That `set` raises always, and the fixture of tests."""
    store = Cache(f"sqlite:///{tmp_path}/raises.db", options={"on_unserializable": "raise"})

    @cached(cache=store)
    def thing() -> object:
        return Shop("one")

    with pytest.raises(CannotSerialize, match="Shop"):
        thing()
    with pytest.raises(CannotSerialize, match="Shop"):
        store.set("k", Shop("one"))
    store.close()


async def test_refresh_does_not_block_unseen() -> None:
    """`refresh` of a function cached on disk is refused in a loop, like a call."""

    @cached(cache="disk")
    def slow() -> int:
        return 1

    with pytest.raises(BlockingCallInEventLoop, match="arefresh"):
        slow.refresh()
    assert await slow.arefresh() == 1


def test_an_option_that_is_none_is_named() -> None:
    """A mistyped option of the decorator is an error with the nearest right name."""
    with pytest.raises(SettingsError, match="did you mean 'timeout'"):
        cached(tiemout=3)  # type: ignore[call-overload]


def test_every_framework_knows_async_functions() -> None:
    """`inspect` alone tells that an async function is one, on every Python."""
    assert inspect.iscoroutinefunction(adouble)
    assert not inspect.iscoroutinefunction(double)
    assert str(inspect.signature(adouble)) == "(number: int, *, note: str = '') -> int"


def test_errors_name_the_users_function() -> None:
    """A refusal speaks of the decorated function, not of ours."""
    with pytest.raises(AwaitableResult, match="adouble"):
        adouble.refresh(1)


def test_two_layers_of_cache() -> None:
    """A function cached twice asks the outer cache, then the inner one, then runs."""

    @cached(cache="outer")
    @cached(cache="disk")
    def two(number: int) -> int:
        calls.append(number)
        return number

    assert [two(1), two(1)] == [1, 1]
    assert calls == [1]
    assert two.cache_info() == (1, 1, 1)
    assert caches["outer"].get(two.key(1)) == caches["disk"].get(two.key(1)) == 1
    caches["outer"].clear()
    assert two(1) == 1
    assert calls == [1]
    assert two.__wrapped__.cache_info() == (1, 1, 1)  # type: ignore[attr-defined]


async def test_two_layers_of_cache_for_an_async_function() -> None:
    """So does an async one."""

    @cached(cache="outer")
    @cached(cache="disk")
    async def two(number: int) -> int:
        calls.append(number)
        return number

    assert isinstance(two, AsyncCached)
    assert [await two(1), await two(1)] == [1, 1]
    assert two.cache_info() == (1, 1, 1)
    await caches["outer"].aclear()
    assert await two(1) == 1
    assert calls == [1]
    assert two.__wrapped__.cache_info() == (1, 1, 1)  # type: ignore[attr-defined]


def test_attributes_of_the_function_hide_no_method() -> None:
    """What the function carries is carried on, but for what would hide the cache."""

    def plain() -> int:
        return 1

    vars(plain).update(short_description="one", key="none", _plan="none")
    decorated = cached(plain)
    assert decorated() == 1
    assert decorated.short_description == "one"  # type: ignore[attr-defined]
    assert decorated.key().endswith("plain()")


class Power:
    """A callable object that is no function."""

    def __call__(self, number: int) -> int:
        return number**2


class AsyncPower:
    """A callable object whose calls are awaited."""

    async def __call__(self, number: int) -> int:
        return number**2


@pytest.mark.parametrize(
    ("function", "name"), [(functools.partial(pow, 3), "partial"), (Power(), "Power")]
)
def test_what_has_no_name_goes_by_its_class(function: Any, name: str) -> None:
    """Partial functions and callable objects are cached under a key of their own."""
    decorated = cached(key="power:{number}" if name == "Power" else "power:{exp}")(function)
    assert [decorated(2), decorated(2)] == [9 if name == "partial" else 4] * 2
    assert repr(decorated).startswith(f"<cached {name} CacheInfo(hits=1,")
    assert decorated.__name__ == name
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(decorated)


@pytest.mark.parametrize("function", [AsyncPower(), functools.partial(AsyncPower())])
async def test_an_object_with_an_async_call_is_async(function: Any) -> None:
    """A callable object whose `__call__` is async makes an async function."""
    decorated: Any = cached(key="power:{number}")(function)
    assert isinstance(decorated, AsyncCached)
    assert inspect.iscoroutinefunction(decorated)
    assert iscoroutinefunction(decorated)
    assert [await decorated(3), await decorated(3)] == [9, 9]
    assert decorated.cache_info() == (1, 1, 1)


def test_bound_methods_can_be_pickled() -> None:
    """A bound method is pickled as its object and its name."""
    for method in (Shop("one").price, Shop.named, Branch("two").named, Shop("one").stock):
        again = pickle.loads(pickle.dumps(method))
        assert type(again) is type(method)
        assert again.key("x") == method.key("x")
    assert pickle.loads(pickle.dumps(Shop("one").price))("x") == "one: x"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("get", (1,)), ("set", (1, 1)), ("invalidate", (1,)), ("refresh", (1,)), ("cache_clear", ())],
)
async def test_a_refused_method_names_its_own_twin(method: str, arguments: Any) -> None:
    """A method that would block the loop says which one of the function to await."""

    @cached(cache="disk")
    def slow(number: int) -> int:
        return number

    with pytest.raises(BlockingCallInEventLoop) as caught:
        getattr(slow, method)(*arguments)
    assert f"slow.a{method}(" in str(caught.value)
    await getattr(slow, f"a{method}")(*arguments)


async def test_get_returns_none_for_a_miss_and_for_a_stored_none() -> None:
    """`get` does not tell a function that returned None from one that was not called."""

    @cached
    def nothing() -> None:
        calls.append(1)

    assert nothing.get() is await nothing.aget() is None
    nothing()
    assert nothing.get() is await nothing.aget() is None
    assert calls == [1]


MAKERS = {
    "list": (lambda: [1], lambda value: value.append(2)),
    "dict": (lambda: {"page": 1}, lambda value: value.update(page=2)),
    "set": (lambda: {1}, lambda value: value.add(2)),
    "nested": (lambda: ({"a": [1]},), lambda value: value[0]["a"].append(2)),
}


@pytest.mark.parametrize("alias", ["default", "disk"])
@pytest.mark.parametrize("kind", MAKERS)
async def test_a_call_is_of_its_arguments_as_they_were(alias: str, kind: str) -> None:
    """Whenever their owner changes them after the call began, key and function see one state."""
    make, change = MAKERS[kind]

    @cached(cache=alias)
    async def shown(value: Any, *more: Any, **named: Any) -> str:
        await asyncio.sleep(0)
        return repr((value, more, named))

    for ticks in range(1, 12):
        await shown.acache_clear()
        value = make()
        task = asyncio.create_task(shown(value, value, named=value))
        for _ in range(ticks):
            await asyncio.sleep(0)
        change(value)
        want = repr((make(), (make(),), {"named": make()}))
        assert await task == want
        assert await shown.aget(make(), make(), named=make()) == want


async def test_a_call_that_has_not_begun_reads_what_is_there_when_it_does() -> None:
    """As with a plain `async def`, a coroutine that nobody runs yet has looked at nothing."""

    @cached
    async def shown(value: Any) -> str:
        return repr(value)

    value = [1]
    call = shown(value)
    value.append(2)
    assert await call == "[1, 2]"
    assert await shown.aget([1, 2]) == "[1, 2]"


@pytest.mark.parametrize("alias", ["default", "disk"])
def test_a_sync_call_computes_for_one_state_too(alias: str) -> None:
    """What another thread does to an argument does not reach the function."""
    begun, changed = threading.Event(), threading.Event()

    @cached(cache=alias)
    def shown(value: Any) -> str:
        begun.set()
        assert changed.wait(10)
        return repr(value)

    value = {"page": 1}
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(shown, value)
        assert begun.wait(10)
        value["page"] = 2
        changed.set()
        assert call.result() == "{'page': 1}"
    assert shown.get({"page": 1}) == "{'page': 1}"
    assert shown.get({"page": 2}) is None


class Changing(MemoryBackend):
    """A store during whose first read another thread goes on."""

    goes_on: Any = None

    def get(self, key: str) -> Any:
        if self.goes_on is not None:
            goes_on, self.goes_on = self.goes_on, None
            goes_on()
        return super().get(key)


@pytest.mark.parametrize("options", [{}, {"stale": 60}, {"early": 0.5}, {"tags": ["n:{numbers}"]}])
def test_a_result_is_kept_of_what_it_was_computed_of(options: Any) -> None:
    """What another thread does to an argument while the store is read changes the key as well."""
    store = Changing("changing")
    cache = Cache(store)
    cache.clear()

    @cached(cache=cache, **options)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    numbers = [1, 2]
    store.goes_on = lambda: numbers.append(3)
    assert total(numbers) == 6
    assert (total.get([1, 2]), total.get([1, 2, 3])) == (None, 6)
    assert total([1, 2]) == 3


def test_an_object_and_what_is_ignored_pass_as_they_are() -> None:
    """Only plain containers are copied, and none that `ignore` names; a hit copies nothing."""
    shop, log = Shop("one"), []

    @cached(ignore=("log",))
    def seen(shop: Shop, tags: list[str], log: list[Any]) -> None:
        log.append((shop, tags))

    tags = ["a"]
    seen(shop, tags, log)
    seen(shop, tags, log)
    ((found, copied),) = log
    assert found is shop
    assert copied == tags
    assert copied is not tags


def test_bound_methods_are_equal_as_those_of_python_are() -> None:
    """A bound method knows its object and its function, and equals those of the same two."""
    one, other = Shop("one"), Shop("one")
    assert one.price == one.price != other.price
    assert one.price != one.stock
    assert hash(one.price) == hash(one.price)
    assert {one.price: 1}[one.price] == 1
    assert one.price.__self__ is one
    assert one.price.__func__ is Shop.price
    assert Shop.named.__self__ is Shop
    assert Shop.named == Shop.named != Branch.named
    assert Shop.price == Shop.price != one.price
    assert not hasattr(Shop.price, "__self__")
    assert not hasattr(double, "__func__")
    assert double != 1
    Branch.borrowed = one.price  # type: ignore[attr-defined]
    assert Branch("two").borrowed.__self__ is one  # type: ignore[attr-defined]


class Rates:
    """A thing with methods that are not decorated, and no identity."""

    def __init__(self, base: int) -> None:
        self.base = base

    def rate(self, factor: int) -> int:
        return self.base * factor

    @classmethod
    def named(cls, name: str) -> str:
        return f"{cls.__name__} {name}"


class Fees(Rates):
    """A subclass with the same methods."""


@dataclass(frozen=True)
class Tariff(Rates):
    """The same, with an identity."""

    base: int


def test_a_bound_method_that_is_decorated_has_keys_of_its_object() -> None:
    """The object of a bound method is an argument, as that of a decorated method is."""
    one, two = cached(Tariff(1).rate), cached(timeout=60)(Tariff(2).rate)
    assert [one(3), two(3), two(factor=3)] == [3, 6, 6]
    assert two.cache_info() == (1, 1, 1)
    assert str(inspect.signature(two)) == "(factor: int) -> int"
    assert [cached(Rates.named)("x"), cached(Fees.named)("x")] == ["Rates x", "Fees x"]
    again = cached(cache="outer")(Shop("one").price)
    assert again.key("tea") == Shop("one").price.key("tea")
    with pytest.raises(UnstableArgument, match="'self'"):
        cached(Rates(1).rate)(3)


def test_a_key_of_its_own_frees_a_bound_method_of_its_object() -> None:
    """Where `key=` or `ignore=` says what counts, the object needs no identity."""
    of_key = cached(key=lambda factor: f"rate:{factor}")(Rates(2).rate)
    of_template = cached(key="other:{factor}")(Rates(2).rate)
    ignoring = cached(ignore=("self",))(Rates(2).rate)
    assert [of_key.key(3), of_template.key(3)] == ["rate:3", "other:3"]
    assert [of_key(3), of_template(3), ignoring(3), ignoring(3)] == [6, 6, 6, 6]


def test_a_weak_reference_to_a_bound_method_lives_as_long_as_its_object() -> None:
    """`weakref.WeakMethod`, by which signals keep their receivers, takes one."""
    shop = Shop("one")
    kept = weakref.WeakMethod(cast(Any, shop.price))
    assert kept() == shop.price
    assert kept()("tea") == "one: tea"
    del shop
    assert kept() is None


def test_an_abstract_method_stays_abstract() -> None:
    """A class with a decorated abstract method, of whatever kind, has no instances."""

    class Base(ABC):
        @cached
        @abstractmethod
        def plain(self) -> int: ...

        @cached(timeout=5)
        @classmethod
        @abstractmethod
        async def of_class(cls) -> int: ...

        @cached
        @staticmethod
        @abstractmethod
        def static() -> int: ...

    assert Base.__abstractmethods__ == {"plain", "of_class", "static"}
    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]


class Order(BaseModel):
    """A model of pydantic with methods of every kind that are cached."""

    id: int

    @cached(key="order:{self.id}:total")
    def total(self) -> int:
        return self.id * 2

    @cached(key="order:{self.id}:later")
    async def later(self) -> int:
        return self.id * 3

    @cached
    @classmethod
    def title(cls) -> str:
        return cls.__name__

    @cached
    @staticmethod
    def tax(country: str) -> str:
        return country

    @cached(key="order:{self.id}:private")
    def _private(self) -> int:
        return self.id * 4


async def test_a_pydantic_class_takes_cached_methods() -> None:
    """Methods are no fields to pydantic, whether or not they are cached."""
    order = Order(id=3)
    assert [order.total(), order.total(), order._private()] == [6, 6, 12]
    assert await order.later() == 9
    assert [Order.title(), order.tax("de")] == ["Order", "de"]
    assert set(Order.model_fields) == {"id"}
    assert isinstance(Order.total, Cached)
    assert "later" in dir(order)
    assert "invalidate" in dir(order.total)


def test_copies_of_functions_are_themselves() -> None:
    """`copy` and `deepcopy` hand a decorated function on, as they do with any function."""
    for function in (double, adouble, Shop.price):
        assert copy.copy(function) is copy.deepcopy(function) is function
    holder = {"call": Shop("one").price}
    assert copy.deepcopy(holder)["call"].__self__ == Shop("one")


BY_VALUE = """
import asyncio, sys, cloudpickle
from twofold import cached

class Base:
    pass

class Shop:
    def __cache_key__(self):
        return 1

    @cached
    def price(self, item):
        return f"price of {item}"

    @cached(key="named:{name}")
    @classmethod
    def named(cls, name):
        return f"{cls.__name__} {name}"

    @cached
    @staticmethod
    async def stock(item):
        return f"stock of {item}"

@cached(timeout=60, condition=lambda value: True)
def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

def local():
    start = 7

    @cached(key="local:{number}")
    async def add(number):
        return start + number

    return add

sys.stdout.buffer.write(cloudpickle.dumps((fibonacci, Shop, Shop().price, local())))
"""


async def test_cloudpickle_takes_functions_along() -> None:
    """What another process cannot import goes there by value: recursion, methods and options."""
    sent = subprocess.run([sys.executable, "-c", BY_VALUE], capture_output=True, check=True)
    fibonacci, shop, price, add = pickle.loads(sent.stdout)
    assert isinstance(fibonacci, Cached)
    assert isinstance(add, AsyncCached)
    assert [fibonacci(10), fibonacci(10)] == [55, 55]
    assert fibonacci.cache_info().computed == 11
    assert fibonacci._plan.timeout == 60
    assert [price("tea"), shop().price("tea"), shop.named("x")] == ["price of tea"] * 2 + ["Shop x"]
    assert shop.price.cache_info() == (1, 1, 1)
    assert await shop.stock("tea") == "stock of tea"
    assert [await add(1), add.key(1)] == [8, "local:1"]


def test_cloudpickle_names_what_can_be_imported() -> None:
    """A function of a module is pickled by its name, by pickle and cloudpickle alike."""
    for function in (double, adouble, Shop.price):
        assert pickle.loads(cloudpickle.dumps(function)) is function
        assert pickle.loads(pickle.dumps(function, protocol=2)) is function
        assert len(cloudpickle.dumps(function)) < 300


async def no(value: Any) -> bool:
    return False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": no}, "condition=.*is async"),
        ({"condition": functools.partial(no)}, "condition=.*is async"),
        ({"condition": True}, "condition= is a function"),
        ({"key": no}, "key=.*is async"),
        ({"ignore": "number"}, r"ignore=\('number',\)"),
        ({"ignore": ("numbr",)}, "did you mean 'number'"),
        ({"cache": 3}, "cache= is an alias"),
        ({"cache": None}, "cache= is an alias"),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(options: Any, message: str) -> None:
    """Decorating tells of it, before any call, whichever kind of function it is."""
    with pytest.raises(SettingsError, match=message):
        cached(**options)(double.__wrapped__)
    with pytest.raises(SettingsError, match=message):

        class Odd:
            @cached(**options)
            @staticmethod
            def double(number: int) -> int:
                return number


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("ttl", "timeout="),
        ("expire", "timeout="),
        ("expiration_time", "timeout="),
        ("maxsize", "max_entries"),
        ("key_builder", "key="),
        ("namespace", "KEY_PREFIX"),
        ("typed", "always"),
        ("noself", "ignore="),
        ("unless", "condition="),
        ("alias", "cache="),
        ("timeuot", "did you mean 'timeout'"),
        ("xyzzy", "it has cache, condition, early, errors, ignore"),
    ],
)
def test_options_of_other_caches_are_answered_in_ours(name: str, advice: str) -> None:
    """Who comes from another library is told what to write."""
    options: Any = {name: 60}
    with pytest.raises(SettingsError, match=rf"no option '{name}'.*{advice}"):
        cached(**options)


def test_a_timeout_by_position_is_told_of() -> None:
    """`@cached(60)` says how options are given."""
    with pytest.raises(SettingsError, match="timeout=60"):
        cached(60)  # type: ignore[call-overload]


def test_the_public_cache_is_one_to_give() -> None:
    """`cache=twofold.cache` is the alias "default", before and after `configure`."""

    @cached(cache=cache)
    def one() -> int:
        return 1

    assert one() == caches["default"].get(one.key()) == 1


def test_the_public_cache_knows_the_types_of_results(tmp_path: Path) -> None:
    """Hits in `cache=twofold.cache` are of the type of the function, also after `configure`."""

    @cached(cache=cache)
    def corner() -> Shop:
        return Shop("corner")

    for name in ("first.db", "second.db"):
        configure({"default": {"BACKEND": "sqlite", "LOCATION": str(tmp_path / name)}})
        assert [corner(), corner()] == [Shop("corner")] * 2
    assert corner.cache_info() == (2, 2, 2)


def test_a_hit_takes_few_steps() -> None:
    """A plain function, however its cache is named, takes little beside its key and a `get`."""

    @cached(cache=caches["default"])
    def twice(number: int) -> int:
        return 2 * number

    store = caches["default"]
    store.set("k", 1)
    for function in (double, twice):
        assert function(1) == 2
        assert opcodes.count(lambda f=function: f(1)) < 2.25 * opcodes.count(lambda: store.get("k"))


@pytest.mark.parametrize("kind", ["configured", "overridden"])
def test_settings_may_change_while_a_cache_is_looked_up(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function looks its cache up again after whatever came in between at the first time."""

    @cached(key="one")
    def one() -> int:
        return 1

    caches["default"].set("one", 1)
    plan: Any = one._plan
    find, other = plan._find, {"default": {"BACKEND": "memory", "LOCATION": f"{tmp_path}/other"}}

    def slowly() -> Cache:
        monkeypatch.setattr(plan, "_find", find)
        if kind == "configured":
            found: Cache = find()
            configure(other)
            return found
        with caches.override(other):
            caches["default"].set("one", 2)
            return cast("Cache", find())

    monkeypatch.setattr(plan, "_find", slowly)
    assert one() in (1, 2)
    assert one() == 1
    assert caches["default"].get("one") == 1


def test_an_override_that_ends_gives_a_function_its_cache_back(tmp_path: Path) -> None:
    """What is called within `caches.override` is in those caches, what is called after is not."""
    with caches.override({"default": {"BACKEND": "memory", "LOCATION": f"{tmp_path}/other"}}):
        assert double(1) == 2
    assert double(1) == 2
    assert caches["default"].get(double.key(1)) == 2


def test_what_only_this_process_finds_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """A function of a notebook on a store that outlives it is logged once; in memory it is not."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def load(n): return n", scope)
    for _ in range(3):
        cached(scope["load"])(1)
    assert not caplog.records
    load = cached(cache="disk")(scope["load"])
    assert [load(1), load(1), load(2)] == [1, 1, 2]
    (record,) = caplog.records
    assert "load() is of a __main__ without a file" in record.getMessage()
    assert "'disk'" in record.getMessage()
    assert "key=" in record.getMessage()


async def test_a_refusal_names_the_setting_that_permits() -> None:
    """A notebook's user, whose sync code runs in a loop, is told of the option."""

    @cached(cache="disk")
    def slow() -> int:
        return 1

    for call in (slow, slow.get, slow.refresh):
        with pytest.raises(BlockingCallInEventLoop, match=r'OPTIONS\["blocking_calls"\]'):
            call()
