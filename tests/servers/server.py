"""What the harness asks of a key server, whatever its kind."""

from __future__ import annotations

import random
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from certificates import Material

HOST = "127.0.0.1"
START_SECONDS = 30.0


class HarnessError(Exception):
    """Something the caller should be told in one line."""


class Server(ABC):
    """One key server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process that serves, if it runs. It leads a process group."""

    @abstractmethod
    def launch(self, certificate: Material) -> None:
        """Starts it; `await_ready` says when it answers."""

    @abstractmethod
    def await_ready(self) -> None: ...

    @abstractmethod
    def kill(self) -> None:
        """Ends it and its connections."""

    @abstractmethod
    def stop(self) -> None:
        """Connections open but nothing answers."""

    @abstractmethod
    def resume(self) -> None: ...

    @abstractmethod
    def count(self, operation: str) -> int:
        """How often the operation was requested since the harness began."""


def await_handshake(port: int, client: Material, lives: Callable[[], bool]) -> None:
    """Waits until a TLS handshake with a valid client succeeds. Raises OSError if the server dies or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # The server may be meant to present a bad certificate.
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(client.certificate, client.key)
    while True:
        try:
            plain = socket.create_connection((HOST, port), timeout=5)
            with plain, context.wrap_socket(plain):
                return
        except OSError:
            if not lives() or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def free_port() -> int:
    """A port below those the kernel gives to clients: no stray client can take it while its server is down, nor can a
    client that connects to it be given the same number and so connect to itself."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                continue
