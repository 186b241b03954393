"""One sync call of a task, on its way to a worker thread and back."""

import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Call:
    """One sync call on its way: made in a loop, run in a worker, answered in the loop."""

    __slots__ = ("_context", "_error", "_result", "args", "born", "function", "future")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        future: "asyncio.Future[Any]",
        born: float,
    ) -> None:
        self.function: Callable[..., Any] = function
        self.args: tuple[Any, ...] = args
        self.future: asyncio.Future[Any] = future
        self.born: float = born
        self._context = contextvars.copy_context()
        self._error: BaseException | None = None
        self._result: Any = None

    def run(self) -> None:
        """Call the function in the caller's context, unless the caller no longer waits."""
        if self.future.done():
            return
        try:
            self._result = self._context.run(self.function, *self.args)
            self._error = None
        except StopIteration as exc:
            self._error = stopped(self.function, exc)
        except BaseException as exc:
            self._error = exc

    def succeed(self, result: Any) -> None:
        """Answer with `result` instead of running."""
        self._result, self._error = result, None

    def fail(self, error: BaseException) -> None:
        """Answer with `error` instead of what `run` returned or raised."""
        self._error = error

    def answer(self) -> None:
        """Hand the outcome to the caller; in the loop only."""
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(self._error)


def stopped(function: Callable[..., Any], exc: StopIteration) -> RuntimeError:
    """Return an error in place of a StopIteration, which no future can carry."""
    error = RuntimeError(f"{function!r} raised StopIteration")
    error.__cause__ = exc
    return error
