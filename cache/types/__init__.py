"""Values with their types: plain data in the store, and the types again for who asks."""

from twofold.types.annotations import returned_by
from twofold.types.codec import TypedCodec
from twofold.types.finder import of_type
from twofold.types.registered import register_type
from twofold.types.shapes import Fitted, Shape

__all__ = ["Fitted", "Shape", "TypedCodec", "of_type", "register_type", "returned_by"]
