"""What is public: all that a user may build on, and nothing that is not here."""

import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

import twofold
from twofold import AsyncCached, Cached, Lock

NAMES = """
    cached cache caches configure close_all aclose_all Cache Lock Backend Cached AsyncCached
    DEFAULT_TIMEOUT MISSING Timeout Freshness CacheInfo Stats ServerState events bypass refreshing
    register_type __version__

    CacheError SettingsError InvalidKey InvalidTimeout UnstableArgument CannotSerialize
    AwaitableResult NotAMapping BlockingCallInEventLoop BlockingCallWarning NoEventLoop
    ReentrantCall ComputationTimeout MissingKey NotACounter CounterOverflow LockNotAcquired LockLost
    BackendUnavailable DeadlineExceeded PartlyUnavailable
"""

OF_A_CACHE = """
    alias available backend fails_open flushes lock stats timeout typed
    get get_many set set_many add touch ttl delete delete_many has_key mark_stale incr decr
    incr_version decr_version get_or_set get_or_set_many clear clear_prefix close
    invalidate_tags ainvalidate_tags
    aget aget_many aset aset_many aadd atouch attl adelete adelete_many ahas_key amark_stale aincr
    adecr aincr_version adecr_version aget_or_set
    aget_or_set_many aclear aclear_prefix aclose
"""

OF_A_LOCK = "acquire release aacquire arelease"

OF_A_FUNCTION = """
    key get get_or set refresh invalidate cache_clear cache_info
    aget aget_or aset arefresh ainvalidate acache_clear
"""


def members(thing: Any) -> set[str]:
    """Return the names that a reader takes for public."""
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_names_in_twofold_are_these() -> None:
    """`twofold.__all__` is sorted, complete and importable."""
    assert set(twofold.__all__) == set(NAMES.split())
    assert list(twofold.__all__) == sorted(twofold.__all__, key=lambda n: (not n.isupper(), n))
    assert set(twofold.__all__) <= set(dir(twofold))
    for name in twofold.__all__:
        assert hasattr(twofold, name)


def test_dir_and_tab_show_what_is_for_users() -> None:
    """Modules that are no users' business, and what they import, are not listed."""
    assert members(twofold) - {"backends", "contrib", "errors", "testing"} == {
        *(name for name in twofold.__all__ if not name.startswith("_"))
    }


@pytest.mark.parametrize(
    ("thing", "names"),
    [
        (twofold.cache, OF_A_CACHE),
        (Lock, OF_A_LOCK),
        (Cached, OF_A_FUNCTION),
        (AsyncCached, OF_A_FUNCTION),
    ],
)
def test_the_members_are_these(thing: Any, names: str) -> None:
    """Whatever has no underscore before it is meant for users, and listed here."""
    assert members(thing) == set(names.split())


def test_the_version_is_that_of_the_distribution() -> None:
    """`twofold.__version__` is what pip says."""
    assert twofold.__version__ == version("twofold")


def test_there_is_a_version_without_metadata() -> None:
    """An application in one file has none, and can ask all the same."""
    program = (
        "import importlib.metadata as m\n"
        "def absent(name): raise m.PackageNotFoundError(name)\n"
        "m.version = absent\n"
        "import twofold\n"
        "print(twofold.__version__)\n"
    )
    run = [sys.executable, "-c", program]
    assert subprocess.run(run, capture_output=True, check=True, text=True).stdout == "0+unknown\n"
