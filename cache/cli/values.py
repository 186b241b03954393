"""Values on the command line: JSON where they are JSON, else text or `repr`."""

import json
from typing import Any, NoReturn


def read_value(text: str) -> Any:
    """Return what `text` is as JSON; if it is not JSON, `text` itself."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def show_value(value: Any) -> str:
    """Return `value` as JSON, or as `repr` shows it where JSON would say something else."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return text if json.loads(text) == value else repr(value)


def _refuse(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's reader takes and JSON does not know."""
    raise ValueError(f"{name} is no JSON")
