"""Serializers, which turn values into bytes, and compressors, which make those fewer."""

from twofold.codecs.compressors import Compressor, resolve_compressor
from twofold.codecs.serializers import Serializer, resolve_serializer

__all__ = ["Compressor", "Serializer", "resolve_compressor", "resolve_serializer"]
