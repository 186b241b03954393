"""What is shown of text that others wrote."""

import json

import pytest

from twofold.backends.dummy import DummyBackend
from twofold.display import printable
from twofold.errors import BackendUnavailable
from twofold.outage import FailOpen


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


def test_an_outage_is_logged_without_what_a_terminal_obeys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server's error text goes into the log of an outage as text, on one line."""

    class Broken(DummyBackend):
        def get(self, key: str) -> None:
            raise BackendUnavailable("h:1 refused: \x1b[2J\nCRITICAL all is lost")

    assert FailOpen(Broken(), "default").get("k") is None
    assert caplog.messages == [
        "cache 'default' is unavailable, going on without it:"
        r" h:1 refused: \u001b[2J\nCRITICAL all is lost"
    ]
