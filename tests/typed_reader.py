"""A process that finds or computes a value of each kind, and prints how many it computed."""

import sys
from typing import Any

from tests.typed_kinds import KINDS
from twofold import Cache, cached
from twofold.types.sameness import is_same

computed: list[Any] = []

if __name__ == "__main__":
    cache = Cache(sys.argv[1], timeout=None)
    for number, (annotation, value) in enumerate(KINDS):

        def function(value: Any = value) -> Any:
            computed.append(value)
            return value

        function.__annotations__["return"] = annotation
        assert is_same(cached(cache=cache, key=f"{number}")(function)(), value), annotation
    cache.close()
    print(len(computed))
