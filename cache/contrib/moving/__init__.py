"""What the settings of other caches mean in twofold's.

Tables say of each name what becomes of it: `redis` and `memcached` those that Django, its
third parties and their drivers have in `OPTIONS`. To move a project over, change one
line; the rest of the entry is read here.
"""

from twofold.contrib.moving.tables import (
    Becomes,
    Ignored,
    Moved,
    Refused,
    Table,
    Translated,
    Within,
)

__all__ = ["Becomes", "Ignored", "Moved", "Refused", "Table", "Translated", "Within"]
