"""Keys: the one normaliser, the keys of an alias, and the keys of calls."""

from twofold.keys.calls import CallKeys
from twofold.keys.full import FullKeys
from twofold.keys.maker import KeyFunction, KeyMaker, check_prefix, check_version, many, normalise
from twofold.keys.names import PROCESS
from twofold.keys.tags import TagTemplates

__all__ = [
    "PROCESS",
    "CallKeys",
    "FullKeys",
    "KeyFunction",
    "KeyMaker",
    "TagTemplates",
    "check_prefix",
    "check_version",
    "many",
    "normalise",
]
