# docs/examples/test_stale.py
import twofold

prices = iter([3, 4])


@twofold.cached(timeout="1m", stale="1h")
def price() -> int:
    return next(prices)


def test_a_stale_price_is_served_while_it_is_refreshed(twofold_cache, twofold_clock):
    assert price() == 3
    twofold_clock.advance(61)
    assert price() == 3
    assert price() == 4
