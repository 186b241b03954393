"""What is stored: counters as digits, everything else in an envelope, or as objects."""

from twofold.entry.codec import MARK_SIZE, MISSING, Codec, Entry, Keeps, Missing
from twofold.entry.envelope import MAX_PAYLOAD, Envelope
from twofold.entry.objects import Held, Marked, Objects, Serialized
from twofold.metadata import Described, Meta, Metas

__all__ = [
    "MARK_SIZE",
    "MAX_PAYLOAD",
    "MISSING",
    "Codec",
    "Described",
    "Entry",
    "Envelope",
    "Held",
    "Keeps",
    "Marked",
    "Meta",
    "Metas",
    "Missing",
    "Objects",
    "Serialized",
]
