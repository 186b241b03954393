"""JSON as Django's third parties write it: what it has no form for becomes text."""

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder


class DjangoJson:
    """What `DjangoJSONEncoder` makes of a value; dates, decimals and tuples do not come back."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, cls=DjangoJSONEncoder).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data.decode())
