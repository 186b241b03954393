# docs/examples/test_greeting.py
from twofold import cached


@cached(timeout="1m")
def greeting(name: str) -> str:
    return f"Hello, {name}"


def test_a_greeting_is_kept_for_a_minute(twofold_cache, twofold_clock):
    greeting("Ada")
    assert greeting.get("Ada") == "Hello, Ada"
    twofold_clock.advance(60)
    assert greeting.get("Ada") is None
