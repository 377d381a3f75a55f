"""Leader and followers that meet through small objects in one folder of a store.

Node 0 is the leader and writes leader.json; every follower writes node-<k>.json. The leader lists the folder and reads
only what has changed, followers read one object: so a meeting of 1,024 machines costs the store few requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from launcher.errors import NotFound
from launcher.storage import ObjectStore

LEADER = "leader.json"
_FOLLOWER = re.compile(r"node-(\d+)\.json")
_Version = tuple[str, float, int]
Message = TypeVar("Message", bound=BaseModel)


class MessageFolder:
    """The messages in one folder; `folder` ends with a slash. Methods raise StoreError."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store, self._folder = store, folder
        self._versions: dict[str, _Version] = {}

    def write(self, name: str, message: BaseModel) -> None:
        self._store.put(self.key(name), message.model_dump_json(indent=1).encode())

    def read(self, name: str, kind: type[Message]) -> Message | None:
        """None for a message that is not there, or that is of another kind."""
        try:
            return kind.model_validate_json(self._store.read(self.key(name)))
        except (ValidationError, NotFound):
            return None

    def changed(self) -> Iterator[str]:
        """Names of objects that are new or have changed since they were given out last. List once per call."""
        for info in self._store.list(self._folder):
            version = (info.etag, info.mtime, info.size)
            if self._versions.get(info.key) != version:
                yield info.key.removeprefix(self._folder)
                self._versions[info.key] = version  # the caller has read it without an error

    def key(self, name: str) -> str:
        """The object's key in the store."""
        return self._folder + name


def follower_name(node: int) -> str:
    """The object of one follower."""
    return f"node-{node}.json"


def follower_of(name: str) -> int | None:
    """The follower that writes this object; None for another object."""
    match = _FOLLOWER.fullmatch(name)
    return int(match[1]) if match else None
