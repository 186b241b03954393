"""Web servers in processes of their own, and clients that ask them many things at once."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from tests.chaos import Server

ROOT = Path(__file__).resolve().parents[1]


class WebServer(Server):
    """A Python web server on a free port of 127.0.0.1.

    Args:
        folder: where its log is.
        command: the arguments of `python -m`; "{port}" stands for the port.
        path: where its modules are.
        environment: variables that it has beside ours.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        path: Path = ROOT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder)
        self._arguments = command
        python_path = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
        self._environment = {"PYTHONPATH": python_path, **(environment or {})}

    def _command(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        arguments = [each.format(port=self.port) for each in self._arguments]
        return ["env", *variables, sys.executable, "-m", *arguments]

    def ping(self) -> bool:
        return bool(self.get("/").status)

    def get(self, where: str, **headers: str) -> "Answer":
        """Ask for one page."""
        return self.ask("GET", where, **headers)

    def ask(self, method: str, where: str, body: bytes | None = None, **headers: str) -> "Answer":
        """Make one request; a body is JSON, unless `headers` say something else."""
        connection = HTTPConnection(self.host, self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {} if body is None else {"content-type": "application/json"}
        try:
            connection.request(method, where, body, kind | sent)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())
        finally:
            connection.close()

    def get_all(self, wheres: Sequence[str], at_once: int) -> list["Answer"]:
        """Ask for all pages, so many at once, over connections that are kept."""
        return asyncio.run(self._get_all(wheres, at_once))

    async def _get_all(self, wheres: Sequence[str], at_once: int) -> list["Answer"]:
        answers: dict[int, Answer] = {}
        waiting = iter(enumerate(wheres))

        async def work() -> None:
            more = True
            while more:
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    more = await talk(reader, writer)
                finally:
                    writer.close()
                    await writer.wait_closed()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            """Ask on one connection, and tell whether the server ended it before all was asked."""
            for number, where in waiting:
                writer.write(f"GET {where} HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode())
                answers[number] = answer = await _read(reader)
                if answer.headers.get("connection") == "close":
                    return True
            return False

        await asyncio.gather(*[work() for _ in range(at_once)])
        return [answers[number] for number in range(len(wheres))]


class Answer(NamedTuple):
    """What a web server answered; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.strip().split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(status.split()[1]), headers, body)
