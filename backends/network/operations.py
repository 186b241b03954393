"""What an operation is to a server: a command, and what its reply means.

A store lists its operations in one table, and both faces of its backend use that.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, TypeVarTuple

from twofold.backends.network.batches import Command
from twofold.backends.network.errors import Outcome
from twofold.effects import Effects

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Executor(Protocol):
    """Whoever executes commands, such as a `Client`."""

    def execute(self, command: Command, deadline: float | None = None) -> Outcome:
        """Return the reply to a command, or why the server refused it."""

    async def aexecute(self, command: Command, deadline: float | None = None) -> Outcome:
        """Do what `execute` does."""


class Operation(Generic[T, *Ts]):
    """An operation that is one command on one key.

    Args:
        build: makes the command.
        read: returns what the outcome means for a key, or raises what it is.
    """

    __slots__ = ("build", "read")

    def __init__(self, build: Callable[[*Ts], Command], read: Callable[[str, Outcome], T]) -> None:
        self.build: Callable[[*Ts], Command] = build
        self.read: Callable[[str, Outcome], T] = read

    def run(self, client: Executor, *args: *Ts) -> T:
        command = self.build(*args)
        return self.read(command.key, client.execute(command))

    async def arun(self, client: Executor, *args: *Ts) -> T:
        command = self.build(*args)
        return self.read(command.key, await client.aexecute(command))

    async def step(self, io: Effects, client: Executor, deadline: float, *args: *Ts) -> T:
        """Run it as one of several that end together, at a monotonic time."""
        command = self.build(*args)
        outcome = await io.op(client.execute, client.aexecute, command, deadline)
        return self.read(command.key, outcome)
