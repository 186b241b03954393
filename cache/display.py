"""What may be shown of what others wrote: servers, keys, values, settings."""

import json

from twofold.urls import mask_url, scheme


def printable(text: str) -> str:
    r"""Return `text` with `\n`, `\u001b` and the like for what a terminal or a log would obey.

    That is whatever `str.isprintable` refuses: controls, line ends, marks that turn the
    direction of writing. Escaped as in JSON, so that JSON means the same afterwards.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def shown(value: object) -> str:
    """Return a setting as a message may show it, or only its type where it may hold a secret."""
    if value is None or isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and (scheme(value) or "@" not in value):
        return repr(mask_url(value))
    return f"a {type(value).__name__}"
