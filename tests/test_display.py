"""What is shown of text that others wrote."""

import json

import pytest

from twofold.display import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold] grüße 日本 \\n", "plain [bold] grüße 日本 \\n"),
        ("one\r\ntwo", r"one\r\ntwo"),
        ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
        ("\x9b2J\x7f", r"\u009b2J\u007f"),
        ("a\u202eb\u2028c\u200bd", r"a\u202eb\u2028c\u200bd"),
        ("\U000e0001\udc80", r"\udb40\udc01\udc80"),
    ],
)
def test_foreign_text_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    """No control, line end or turn of direction reaches a terminal or a log."""
    assert printable(text) == shown


def test_json_means_the_same_when_it_is_made_printable() -> None:
    """JSON that is made printable is read back as the same value."""
    value = {"a\x9b": "\x7f\u202e\x1b\n"}
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value
