"""A store inside the process, shared by its threads and event loops."""

from twofold.backends.memory.backend import MemoryBackend

__all__ = ["MemoryBackend"]
