"""Key servers and configurations for the tests of this folder.

ctest gives PYTHONPATH and KEYSTEAD_LIBRARY. To run them by hand, after a build:

    build/venv/bin/python -m unittest discover -s bindings/python/tests
"""

from __future__ import annotations

import atexit
import os
import sys
import unittest
from functools import cache
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "bindings/python/src"), str(ROOT / "tests/servers")]
os.environ.setdefault("KEYSTEAD_LIBRARY", str(ROOT / "build/lib/libkeystead.so"))

import keystead  # noqa: E402
from keyservers import KeyServers  # noqa: E402
from keystead import _library, _records  # noqa: E402

_numbers = count(1)


@cache
def key_servers() -> KeyServers:
    """Two key servers for all tests. They end with the process, however it ends."""
    servers = KeyServers(2)
    atexit.register(servers.finish)
    return servers


class WithKeyServers(unittest.TestCase):
    """Two running key servers, a client for each test, and keys that no other test knows."""

    def setUp(self) -> None:
        self.servers = key_servers()
        self.client = keystead.Client(self.servers.config)
        self.addCleanup(self.client.close)

    def new_key(self) -> keystead.Key:
        return self.client.create_key(f"customer-{next(_numbers)}")

    def count(self, operation: str) -> int:
        """How many such operations all key servers have processed so far."""
        return sum(server.count(operation) for server in self.servers.servers.values())

    def kill_servers(self) -> None:
        """Until the end of the test, or until they are started again."""
        for server in self.servers.servers.values():
            server.kill()
        self.addCleanup(self.start_servers)

    def start_servers(self) -> None:
        for name, server in self.servers.servers.items():
            if server.pid is None:
                self.servers.start(name)

    def config_with(self, old: str, new: str) -> Path:
        """The configuration with one thing changed."""
        text = self.servers.config.read_text(encoding="utf-8")
        self.assertIn(old, text)
        path = self.servers.folder / f"changed-{next(_numbers)}.conf"
        path.touch(mode=0o600)
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path


__all__ = ["ROOT", "WithKeyServers", "_library", "_records", "key_servers", "keystead"]
