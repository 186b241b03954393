"""What may be shown of text that others wrote: servers, keys, values, files."""

import json


def printable(text: str) -> str:
    r"""Return `text` with `\n`, `\u001b` and the like for what a terminal or a log would obey.

    That is whatever `str.isprintable` refuses: controls, line ends, marks that turn the
    direction of writing. Escaped as in JSON, so that JSON means the same afterwards.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
