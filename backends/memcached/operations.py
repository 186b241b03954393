"""The operations that are one command: how each is asked, and what its reply means.

An operation of the cache that needs several of them is a body over `io: Effects`, which runs
each as a `step`; see `cas` for those that write over what they have read.
"""

from typing import Final

from twofold.backends.memcached import commands, results
from twofold.backends.network import Operation

GET: Final = Operation(commands.get, results.value)
SET: Final = Operation(commands.set, results.is_stored)
ADD: Final = Operation(commands.add, results.is_added)
TOUCH: Final = Operation(commands.touch, results.seen)
DELETE: Final = Operation(commands.delete, results.is_done)
INCR: Final = Operation(commands.incr, results.counted)
GETS: Final = Operation(commands.gets, results.item)
CAS: Final = Operation(commands.cas, results.is_added)
CAS_AWAY: Final = Operation(commands.cas_away, results.is_added)
