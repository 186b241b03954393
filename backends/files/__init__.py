"""A durable store of one file per entry, shared by the threads and processes of one host."""

from twofold.backends.files.backend import FilesBackend

__all__ = ["FilesBackend"]
