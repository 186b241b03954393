"""A durable store in one file, shared by the threads and processes of one host."""

from twofold.backends.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
