"""The lock of an open file, which ends when the file is closed.

By `flock` where there is one: it is one call, that a signal's handler cannot split.
"""

try:
    import fcntl
except ImportError:  # on Windows
    from filelock import lock_descriptor

    def took_lock(descriptor: int) -> bool:
        """Take the lock unless another descriptor has it, and tell whether it was taken."""
        taken: bool = lock_descriptor(descriptor, blocking=False)
        return taken

else:

    def took_lock(descriptor: int) -> bool:
        """Do the same."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
