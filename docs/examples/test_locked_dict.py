# docs/examples/test_locked_dict.py
from locked_dict import LockedDict

from twofold.testing import BackendConformance


class TestLockedDict(BackendConformance):
    def make_backend(self, clock):
        return LockedDict(clock=clock)
