"""Real servers on this machine that a test starts, freezes, kills and starts again."""

import os
import re
import signal
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote_to_bytes

import psutil

from tests.chaos import resp
from tests.chaos.certificates import Certificates
from tests.chaos.patience import eventually
from tests.chaos.processes import HOST, Process, ServerDidNotStart, binary, free_port

_TO_START = 30.0  # seconds
_TO_STOP = 3.0
_TO_ANSWER = 5.0
_TO_ACKNOWLEDGE = 50  # milliseconds
_ATTEMPTS = 5  # ports to try when another program was quicker
_BUSY = "address already in use"


class Server(ABC):
    """A server on a port of 127.0.0.1; it starts by `start()` or `with`, and is gone after it.

    Its folder keeps its configuration and its log. It has the same port for all its life.
    """

    host = HOST

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "server.log"
        self._process: Process | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command line for `self.port`."""

    @abstractmethod
    def ping(self) -> bool:
        """Whether the server answers; `OSError` when it cannot be reached."""

    def __repr__(self) -> str:
        state = f"pid={self.pid}" if self.alive else "down"
        return f"<{type(self).__name__} {self.address} {state}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()  # nothing is kept, and a stop in good order takes memcached a second

    @property
    def address(self) -> str:
        """Where the server is: "127.0.0.1:12345"."""
        return f"{self.host}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process exists; a frozen one does."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int:
        """The process id; `ServerDidNotStart` when there has been no process."""
        return self._running().pid

    def start(self) -> Self:
        """Start the server and return when it answers; `ServerDidNotStart` shows its log."""
        if self.alive:
            raise AssertionError(f"{self!r} runs already")
        chosen = self.port
        for _ in range(_ATTEMPTS):
            self.port = chosen or free_port()
            if self._starts():
                return self
            if _BUSY not in self._said().lower():
                break
        raise ServerDidNotStart(f"{self!r}: {' '.join(self._command())}\n{self._said()}")

    def stop(self) -> None:
        """Stop the server in good order; a frozen one too, and one that is gone already.

        memcached takes up to a second, and a Redis with a replica that lags is killed after three.
        """
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server as `kill -9` does."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Kill the server, if it runs, and start it on the same port."""
        self.kill()
        return self.start()

    def freeze(self) -> None:
        """Suspend the process: its connections stay open, and nothing is answered."""
        self._running().send(signal.SIGSTOP)
        eventually(lambda: self._state() == psutil.STATUS_STOPPED, f"{self!r} is frozen")

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._running().send(signal.SIGCONT)

    def _running(self) -> Process:
        if self._process is None:
            raise ServerDidNotStart(f"{type(self).__name__} in {self.folder} was never started")
        return self._process

    def _state(self) -> str:
        return str(psutil.Process(self.pid).status())

    def _starts(self) -> bool:
        """Start a process; return False, with no process left, if it does not come to answer."""
        self._read_from = self._log.stat().st_size if self._log.exists() else 0
        self._process = Process(self._command(), self.folder, self._log)
        try:
            eventually(lambda: not self.alive or self.ping(), "an answer", _TO_START)
        except AssertionError:
            self.kill()
        if self.alive:
            return True
        self._end(signal.SIGKILL)
        return False

    def _said(self) -> str:
        """Return what the last process has printed."""
        with self._log.open("rb") as log:
            log.seek(self._read_from)
            return log.read().decode(errors="replace")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(number, _TO_STOP)


class RedisServer(Server):
    """A `redis-server` that keeps nothing on disk.

    `lines` are lines of its configuration ("maxmemory 2mb"), which come after ours and win.
    `password` is the default user's; `users` are ACL rules ("alice on >secret ~* &* +@all").
    With `tls` the port speaks TLS alone, and a client's certificate is checked if there is one
    (the line "tls-auth-clients yes" makes it a must).
    """

    def __init__(
        self,
        folder: Path,
        *lines: str,
        password: str | None = None,
        users: tuple[str, ...] = (),
        tls: Certificates | None = None,
    ) -> None:
        super().__init__(folder)
        self.password = password
        self.tls = tls
        self.socket_path = folder / "redis.sock"
        self._lines = (*(f"user {rule}" for rule in users), *lines)

    @property
    def url(self) -> str:
        """The URL of database 0, with the password if there is one."""
        scheme = "rediss" if self.tls else "redis"
        secret = f":{self.password}@" if self.password else ""
        return f"{scheme}://{secret}{self.address}/0"

    def ping(self) -> bool:
        """Whether the server answers, and has read what it loads from disk or from a primary."""
        try:
            return bool(self.command("PING") == "PONG")
        except resp.CommandFailed:
            return False

    def command(self, *parts: Any) -> Any:
        """Run a command as the default user over the Unix socket, and return its reply.

        Bulk strings are bytes, simple ones `str`, arrays lists; an error reply raises
        `CommandFailed`.
        """
        return self._ask(parts)

    def is_replicated(self) -> bool:
        """Whether a replica has said that it has all that was written here until now.

        A replica that calls itself in sync may get nothing yet: until its first sign of life, up
        to a second later, what is written is kept for it, and lost if it is promoted meanwhile.
        """
        return bool(self._ask(("PUBLISH", "chaos", ""), ("WAIT", 1, _TO_ACKNOWLEDGE)))

    def info(self, section: str = "default") -> dict[str, str]:
        """Return a section of `INFO`: names and values as text."""
        return fields(self.command("INFO", section))

    @property
    def knows_nx_get(self) -> bool:
        """Whether it is as new as Redis 7, to which `SET … NX GET` is a command."""
        return int(self.info("server")["redis_version"].partition(".")[0]) >= 7

    def flush(self) -> None:
        """Delete all keys of all databases."""
        self.command("FLUSHALL")

    def _ask(self, *commands: tuple[Any, ...]) -> Any:
        login = [("AUTH", self.password)] if self.password else []
        return resp.ask(self.socket_path, *login, *commands)

    def _command(self) -> list[str]:
        """Write the configuration, and return the command line that reads it."""
        self._configure(self.folder / "redis.conf")
        return [binary("redis-server"), "redis.conf"]

    def _configure(self, file: Path) -> None:
        own = [
            f"bind {self.host}",
            *self._ports(),
            f"unixsocket {self.socket_path.name}",
            'save ""',
            "appendonly no",
            "repl-diskless-sync-delay 0",
            *([f"requirepass {self.password}"] if self.password else []),
        ]
        file.write_text("\n".join((*own, *self._lines)) + "\n")

    def _ports(self) -> list[str]:
        if self.tls is None:
            return [f"port {self.port}"]
        return [
            "port 0",
            f"tls-port {self.port}",
            f'tls-cert-file "{self.tls.server}"',
            f'tls-key-file "{self.tls.server_key}"',
            f'tls-ca-cert-file "{self.tls.ca}"',
            "tls-auth-clients optional",
        ]


class MemcachedServer(Server):
    """A `memcached`; `options` are more of its command line ("-m", "16").

    With `login`, "user:password", it asks everybody for that. With `tls` it speaks TLS alone, and
    checks no client (the option "ssl_verify_mode=2" of "-o" has it do so). With `unix` it listens
    at `socket_path` alone.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        login: str | None = None,
        tls: Certificates | None = None,
        unix: bool = False,
    ) -> None:
        super().__init__(folder)
        self.socket_path = folder / "memcached.sock"
        self._options = options
        self._login = login
        self._tls = tls
        self._unix = unix

    def ping(self) -> bool:
        """Whether the server answers."""
        return self.command(b"version\r\n").startswith(b"VERSION")

    def command(self, lines: bytes) -> bytes:
        r"""Send lines of the text protocol (with their "\r\n"), and return all that came back."""
        with self._connected() as connection, connection.makefile("rb") as replies:
            connection.sendall(lines + b"quit\r\n")
            return replies.read()

    def flush(self) -> None:
        """Delete all items."""
        self.command(b"flush_all\r\n")

    def stats(self, kind: str = "") -> dict[str, str]:
        """Return what `stats`, or `stats settings` and the like, tells."""
        told = self.command(f"stats {kind}".strip().encode() + b"\r\n").decode()
        lines = [line.split(" ", 2) for line in told.splitlines() if line.startswith("STAT ")]
        return {name: value for _, name, value in lines}

    def all_keys(self) -> set[bytes]:
        """Return the keys of all items."""
        return {unquote_to_bytes(key) for key in re.findall(rb"key=(\S+)", self._items())}

    def end_lives(self, within: float) -> None:
        """End at once the lives that would end in the next seconds, by the server's own clock."""
        now, ends = self._ends()
        ending = [key for key, end in ends.items() if now < end <= now + within]
        if ending:
            self.command(b"".join([b"touch %b -1\r\n" % key for key in ending]))

    def age(self, seconds: int) -> None:
        """Take so many seconds from the lives of all items."""
        now, ends = self._ends()
        aged = {key: end - seconds for key, end in ends.items()}
        for key, end in aged.items():
            life = end - now  # one of a month is a time since 1970
            aged[key] = -1 if life <= 0 else life if life <= 30 * 86400 else end
        self.command(b"".join([b"touch %b %d\r\n" % each for each in aged.items()]))

    def _ends(self) -> tuple[int, dict[bytes, int]]:
        """Return the server's time, and when items end that are not for ever; since 1970."""
        now = int(self.stats()["time"])
        ends = re.findall(rb"key=(\S+) exp=(\d+) ", self._items())
        return now, {unquote_to_bytes(key): int(end) for key, end in ends}

    def _items(self) -> bytes:
        """Return a line for each item; a "quit" that came too early would hang the server."""
        with self._connected() as connection:
            connection.sendall(b"lru_crawler metadump hash\r\n")
            with connection.makefile("rb") as replies:
                return b"".join(iter(replies.readline, b"END\r\n"))

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        """Connect, and log in."""
        family = socket.AF_UNIX if self._unix else socket.AF_INET
        with ExitStack() as stack:
            opened = stack.enter_context(socket.socket(family))
            opened.settimeout(_TO_ANSWER)
            opened.connect(str(self.socket_path) if self._unix else (self.host, self.port))
            if self._tls:
                context = ssl.create_default_context(cafile=self._tls.ca)
                context.load_cert_chain(self._tls.client, self._tls.client_key)
                secured = context.wrap_socket(opened, server_hostname=self.host)
                opened = stack.enter_context(secured)
            if self._login:
                words = self._login.replace(":", " ", 1).encode()
                opened.sendall(b"set login 0 0 %d\r\n%b\r\n" % (len(words), words))
                assert opened.recv(100) == b"STORED\r\n"
            yield opened

    def _command(self) -> list[str]:
        user = ["-u", "root"] if os.geteuid() == 0 else []
        where = ["-l", self.host, "-p", str(self.port), "-U", "0"]
        if self._unix:
            where = ["-s", str(self.socket_path)]
        if self._tls is not None:
            files = {
                "ssl_chain_cert": self._tls.server,
                "ssl_key": self._tls.server_key,
                "ssl_ca_cert": self._tls.ca,
            }
            where += ["-Z", *(part for name in files for part in ("-o", f"{name}={files[name]}"))]
        if self._login:
            users = self.folder / "users"
            users.write_text(f"{self._login}\n")
            where += ["-Y", str(users)]
        return [binary("memcached"), *where, *user, *self._options]


def fields(text: bytes) -> dict[str, str]:
    """Return the lines "name:value" of an `INFO` as a dict."""
    lines = (line.partition(":") for line in text.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}
