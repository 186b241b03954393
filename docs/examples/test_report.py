# docs/examples/test_report.py
import asyncio

from report import count_words, main


def test_a_hundred_questions_are_one_computation(twofold_cache):
    asyncio.run(main())
    assert twofold_cache.stats().computations == 1


def test_a_count_is_kept_for_an_hour(twofold_cache, twofold_clock):
    asyncio.run(count_words("one two"))
    twofold_clock.advance(3599)
    assert count_words.get("one two") == 2
    twofold_clock.advance(1)
    assert count_words.get("one two") is None
