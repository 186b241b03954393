"""The operations that are one command: how each is asked, and what its reply means.

An operation of the cache that needs several of them is a body over `io: Effects`, which runs
each as a `step`.
"""

from typing import Final

from twofold.backends.network import Operation
from twofold.backends.redis import commands, results

GET: Final = Operation(commands.get, results.value)
SET: Final = Operation(commands.set, results.is_stored)
ADD: Final = Operation(commands.add, results.is_added)
TTL: Final = Operation(commands.pttl, results.seconds)
HAS: Final = Operation(commands.exists, results.is_done)
DELETE: Final = Operation(commands.delete, results.is_done)
INCR: Final = Operation(commands.incr, results.counted)
COMPARE_AND_SET: Final = Operation(commands.compare_and_set, results.is_done)
REPLACE: Final = Operation(commands.replace, results.is_done)
COMPARE_AND_DELETE: Final = Operation(commands.compare_and_delete, results.is_done)
