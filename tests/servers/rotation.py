"""Temporary keys of an S3 server, written into a file and replaced by new ones: the old ones are refused from then on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.servers.faults import Faults, fault_proxy
from tests.servers.s3 import rclone_server

COUNT = 300
PAIRS = {f"key-of-turn-{n}": f"secret-of-turn-{n}-0123456789" for n in range(COUNT)}


@dataclass
class Rotation:
    """`turn` counts the renewals. `code` is what the store says of keys that are not valid any more; `used` has the keys of
    all requests that it took, `turns` the turn and the path of each.

    With `every` keys are good for so many requests. New ones are written after the first request that is refused.
    """

    file: Path
    faults: Faults
    turn: int = 0
    written: int = 0
    code: str = "ExpiredToken"
    used: list[str] = field(default_factory=list)
    turns: list[tuple[int, str]] = field(default_factory=list)
    refused: int = 0
    every: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return self.faults.endpoint

    def write(self) -> None:
        """Put the valid keys into the file, as a whole."""
        key = f"key-of-turn-{self.written}"
        ends = datetime.now(timezone.utc) + timedelta(minutes=15)
        part = self.file.with_suffix(".part")
        part.write_text(
            f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {PAIRS[key]}\n"
            f"aws_session_token = token-of-turn-{self.written}\nexpiration = {ends.isoformat()}\n"
        )
        part.rename(self.file)

    def renew(self) -> None:
        """New keys in the file, which are taken from then on; after that the old ones are refused."""
        self.written = self.turn + 1
        self.write()
        self.turn = self.written

    def expire(self) -> None:
        """The keys in the file are refused, and nobody has written new ones."""
        self.turn += 1
        self.written = self.turn

    def judge(self, key: str, path: str) -> tuple[int, str] | None:
        with self.lock:
            if self.every and self.used[-self.every :].count(key) == self.every and self.turn < COUNT - 1:
                self.expire()
            if key in (f"key-of-turn-{self.turn}", f"key-of-turn-{self.written}"):
                self.used.append(key)
                self.turns.append((self.turn, path))
                return None
            if self.every:
                self.write()
            self.refused += 1
            return 403, self.code

    def renewals(self, word: str, after: str = "") -> int:
        """How often keys were renewed between the first and the last request whose path has `word`, after the first with `after`."""
        start = next((n for n, (_, path) in enumerate(self.turns) if after in path), len(self.turns))
        turns = [turn for turn, path in self.turns[start:] if word in path]
        return turns[-1] - turns[0] if turns else 0


@contextmanager
def rotating_keys(endpoint: str, file: Path, host: str = "127.0.0.1") -> Iterator[Rotation]:
    """A way to a server that knows `PAIRS`, on which only the keys in `file` are taken. It listens on `host`."""
    with fault_proxy(endpoint, host) as faults:
        rotation = Rotation(file, faults)
        faults.refuse = rotation.judge
        rotation.write()
        yield rotation


@contextmanager
def rotating_server(folder: Path, file: Path) -> Iterator[Rotation]:
    """A server on the buckets below `folder` that takes the keys in `file` only."""
    with rclone_server(folder, more_keys=PAIRS) as server, rotating_keys(server.endpoint, file) as rotation:
        yield rotation
