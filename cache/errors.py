"""Every error twofold raises: one root, a flat family.

CacheError
├── SettingsError            (ValueError)    the settings ask for what cannot be
├── InvalidKey               (ValueError, TypeError) the key is not a non-empty text
├── InvalidTimeout           (ValueError)    the timeout is no duration
├── UnstableArgument         (TypeError)     an argument cannot stand in a key
├── CannotSerialize          (TypeError)     the serializer cannot hold the value
├── AwaitableResult          (TypeError)     async code was given to the sync face
├── NotAMapping              (TypeError)     a function of many keys returned no mapping
├── BlockingCallInEventLoop  (RuntimeError)  a sync call would freeze a running loop
├── NoEventLoop              (RuntimeError)  an async call outside of an asyncio event loop
├── ComputationTimeout       (TimeoutError)  a computation took longer than `max_wait`
├── ReentrantCall            (RuntimeError)  waiting would be a deadlock
├── MissingKey               (ValueError)    the key to count on is not there
├── NotACounter              (TypeError)     the value to count on is no 64-bit integer
├── CounterOverflow          (OverflowError) the sum leaves signed 64 bits
├── LockNotAcquired          (TimeoutError)  another holder kept the lock
├── LockLost                 (RuntimeError)  the lock expired while it was held
└── BackendUnavailable                       the store cannot be reached or used
    ├── DeadlineExceeded     (TimeoutError)  the store did not answer in time
    └── PartlyUnavailable                    some servers of the store did not answer
"""

from typing import Any, Final


class CacheError(Exception):
    """Root of all errors of twofold; a note names the section of *Troubleshooting*, if any."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        of_kind = next((each for kind in type(self).__mro__ if (each := _SECTIONS.get(kind))), {})
        for words, section in of_kind.items():
            if words in str(self):
                self.add_note(f"More: docs/troubleshooting.md#{section}")
                break


class SettingsError(CacheError, ValueError):
    """The settings name something unknown or ask for what cannot be."""


class InvalidKey(CacheError, ValueError, TypeError):
    """A key, prefix or version that no store could hold, or one text for many keys."""


class InvalidTimeout(CacheError, ValueError):
    """A timeout that is neither a number, a `timedelta`, text like "10m", nor None."""


class UnstableArgument(CacheError, TypeError):
    """An argument without an identity that outlives the process."""


class CannotSerialize(CacheError, TypeError):
    """A value of a type that the alias's serializer cannot restore exactly."""


class AwaitableResult(CacheError, TypeError):
    """An async function, or a coroutine, where a plain value was to be stored."""


class NotAMapping(CacheError, TypeError):
    """A function that is asked for many values at once returned something else than a mapping."""


class BlockingCallInEventLoop(CacheError, RuntimeError):
    """A sync call that does I/O was made inside a running event loop."""


class BlockingCallWarning(RuntimeWarning):
    """The same, where `OPTIONS["blocking_calls"]` is "warn"."""


class NoEventLoop(CacheError, RuntimeError):
    """An async call was made where no event loop of asyncio runs, such as under trio."""


class ReentrantCall(CacheError, RuntimeError):
    """A function asked for the key that it computes, or the lock's holder waits for the caller."""


class ComputationTimeout(CacheError, TimeoutError):
    """A value took longer to compute than the caller waits; it is computed all the same."""


class MissingKey(CacheError, ValueError):
    """`incr`, `decr` or `incr_version` on a key that is not there."""


class NotACounter(CacheError, TypeError):
    """`incr` or `decr` on a value that is not a signed 64-bit integer."""


class CounterOverflow(CacheError, OverflowError):
    """A sum outside signed 64 bits; the counter is as it was."""


class LockNotAcquired(CacheError, TimeoutError):
    """The lock was held by another for the whole wait."""


class LockLost(CacheError, RuntimeError):
    """The lock's life ended before its holder let go."""


class BackendUnavailable(CacheError):
    """The store cannot be reached, or failed; nothing is known of the operation's outcome."""


class DeadlineExceeded(BackendUnavailable, TimeoutError):
    """The store did not answer within the alias's deadline."""


class PartlyUnavailable(BackendUnavailable):
    """Some servers of the store did not answer.

    `result` is what the operation would have returned without them: of a cache's `get_many`
    the values found, by the caller's keys, of its `delete_many` a number, of a backend's what
    the backend returns. A cache goes on with that where `OPTIONS["on_error"]` is "miss".
    """

    def __init__(self, text: str, result: Any = None) -> None:
        super().__init__(text)
        self.result: Any = result


_SECTIONS: Final[dict[type, dict[str, str]]] = {
    SettingsError: {
        "no BACKEND is named": "no-backend-is-named",
        "is no URL": "no-backend-is-named",
        "pip install": "something-that-it-needs-is-missing",
        "there is no option": "there-is-no-option-there-is-no-setting-did-you-mean",
        "there is no setting": "there-is-no-option-there-is-no-setting-did-you-mean",
        "There are: ": "there-is-no-option-there-is-no-setting-did-you-mean",
        "has no option": "there-is-no-option-there-is-no-setting-did-you-mean",
        "did you mean": "there-is-no-option-there-is-no-setting-did-you-mean",
    },
    BlockingCallInEventLoop: {"": "blocks-and-an-event-loop-is-running-in-this-thread"},
    NoEventLoop: {"": "need-an-event-loop-of-asyncio"},
    CannotSerialize: {"": "the-serializer-cannot-hold-a-value"},
    AwaitableResult: {"": "can-be-awaited-once-only-returned-an-awaitable"},
    UnstableArgument: {"": "cannot-stand-in-a-key"},
    ReentrantCall: {"": "would-wait-for-its-own-result-would-never-end"},
    ComputationTimeout: {"": "takes-longer-to-compute-than-max_wait"},
    LockNotAcquired: {"": "was-held-by-another-for-the-whole-wait"},
    LockLost: {"": "expired-or-was-removed-while-it-was-held"},
    DeadlineExceeded: {"": "no-answer-within-the-deadline"},
    BackendUnavailable: {
        "OOM": "could-not-be-stored-noeviction-oom",
        "": "cannot-be-reached-breaker-open",
    },
}
"""Where the documentation says more of an error, by words of its message."""
