"""Three processes with copies near of one Redis, to be killed and cut: how old is what they read?

It starts a redis-server, a proxy that can be cut, and three processes, and ends by Ctrl-C.

One process writes the time into ten keys, ten times a second. The others read them as fast as they
can, nearly always from near, and print how many reads that were, and by how much the oldest value
that they got was behind. Meanwhile press Enter to cut all connections for three seconds, `s` and
Enter to stop redis-server for three seconds (SIGSTOP), or kill any of the processes.

In the time of a cut no value is more than the staleness (here 0.5 s) behind what a read of Redis
itself would have brought: the readers ask Redis then, cannot reach it, and say so.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from twofold import BackendUnavailable, Cache

KEYS = [f"clock:{number}" for number in range(10)]
STALENESS = 0.5


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


class Proxy:
    """What the processes reach Redis through; `cut` ends all connections, and takes no new ones."""

    def __init__(self, port: int) -> None:
        self._target = "127.0.0.1", port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        self.is_cut = True
        for each in self._pairs:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()
        time.sleep(seconds)
        self.is_cut = False

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self.is_cut:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._pairs += client, server
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def write(port: int) -> None:
    """Write the time, again and again; directly, so that no cut keeps it from that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cache = Cache(f"redis://127.0.0.1:{port}", key_prefix="three")
    while True:
        with contextlib.suppress(BackendUnavailable):
            cache.set_many(dict.fromkeys(KEYS, str(time.monotonic())))
        time.sleep(0.1)


def read(name: str, port: int) -> None:
    """Read, and tell each second how old the values were."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    near = {"max_bytes": "1mb", "staleness": STALENESS}
    cache = Cache(f"redis://127.0.0.1:{port}", key_prefix="three", near=near)
    while True:
        reads = failures = 0
        oldest, began = 0.0, cache.stats().near.hits
        ends = time.monotonic() + 1
        while (now := time.monotonic()) < ends:
            try:
                found = cache.get(KEYS[reads % len(KEYS)])
            except BackendUnavailable:
                failures += 1
                time.sleep(0.01)
                continue
            reads += 1
            if found is not None:
                oldest = max(oldest, now - float(found))
        watch, hits = cache.stats().near.watch, cache.stats().near.hits - began
        state = "told of writes" if watch and watch.live else "NOT told of writes"
        print(
            f"{name}: {reads:7} reads, {hits:7} near, {failures:3} failed;"
            f" the oldest value was written {oldest:.2f} s before; {state}",
            flush=True,
        )


def command(proxy: Proxy, server: "subprocess.Popen[bytes]") -> None:
    """Do what is typed."""
    for line in sys.stdin:
        if line.strip() == "s":
            print("redis-server stands still for 3 s", flush=True)
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(3)
            os.kill(server.pid, signal.SIGCONT)
        else:
            print("all connections are cut for 3 s", flush=True)
            proxy.cut(3)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = subprocess.Popen(  # noqa: S603
            [program, "--port", str(port), "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        proxy = Proxy(port)
        spawn = multiprocessing.get_context("spawn")
        processes = [
            spawn.Process(target=write, args=(port,), daemon=True),
            spawn.Process(target=read, args=("north", proxy.port), daemon=True),
            spawn.Process(target=read, args=("south", proxy.port), daemon=True),
        ]
        for each in processes:
            each.start()
        print("processes", [each.pid for each in processes], "redis-server", server.pid, flush=True)
        threading.Thread(target=command, args=(proxy, server), daemon=True).start()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                for each in processes:
                    each.join()
        finally:
            for each in processes:
                each.kill()
                each.join()
            server.kill()
            server.wait()
        print("the end")


if __name__ == "__main__":
    main()
