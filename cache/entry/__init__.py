"""What is stored: counters as digits, everything else in an envelope, or as objects."""

from twofold.entry.codec import MISSING, Codec, Entry, Missing
from twofold.entry.envelope import MAX_PAYLOAD, Envelope
from twofold.entry.objects import Objects, Serialized
from twofold.metadata import Described, Meta

__all__ = [
    "MAX_PAYLOAD",
    "MISSING",
    "Codec",
    "Described",
    "Entry",
    "Envelope",
    "Meta",
    "Missing",
    "Objects",
    "Serialized",
]
