"""The operations that are one command: how each is asked, and what its reply means.

An operation of the cache that needs several of them is a body over `io: Effects`, which runs
each as a `step`.
"""

from typing import Final

from twofold.backends.network import Operation
from twofold.backends.redis import commands, results, scripts

GET: Final = Operation(commands.get, results.value)
SET: Final = Operation(commands.set, results.is_stored)
ADD: Final = Operation(scripts.add, results.is_added)
GET_OR_CLAIM: Final = Operation(scripts.get_or_claim, results.present)
FILL: Final = Operation(scripts.fill, results.is_filled)
RENEW: Final = Operation(scripts.renew, results.is_done)
TOUCH: Final = Operation(scripts.touch, results.is_there)
TTL: Final = Operation(scripts.ttl, results.seconds)
HAS: Final = Operation(scripts.has, results.is_there)
DELETE: Final = Operation(scripts.delete, results.is_done)
SET_AND_DELETE: Final = Operation(scripts.set_and_delete, results.is_stored)
INCR: Final = Operation(scripts.incr, results.counted)
COMPARE_AND_SET: Final = Operation(scripts.compare_and_set, results.is_done)
REPLACE: Final = Operation(scripts.replace, results.is_filled)
COMPARE_AND_DELETE: Final = Operation(scripts.compare_and_delete, results.is_done)
