"""Leader and followers that meet through small objects in one folder of a store.

Node 0 is the leader and writes leader.json; every follower writes node-<k>.json. The leader lists the folder and reads
only what has changed, followers read one object: so a meeting of 1,024 machines costs the store few requests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from launcher.disk import md5_of
from launcher.errors import IntegrityError, NotFound
from launcher.runfolder.smallfiles import read_small_object
from launcher.storage import ObjectInfo, ObjectStore

LEADER = "leader.json"
_FOLLOWER = re.compile(r"node-(\d+)\.json")
LATE_READS = 5
"""After so many reads of one version it counts as read: the ETag of an encrypted object is never the MD5 of its bytes."""
_Version = tuple[str, float, int]
Message = TypeVar("Message", bound=BaseModel)


class MessageFolder:
    """The messages in one folder; `folder` ends with a slash. Methods raise StoreError."""

    def __init__(self, store: ObjectStore, folder: str, *, confirm: bool = True) -> None:
        self._store, self._folder, self._confirm = store, folder, confirm
        self._versions: dict[str, _Version] = {}
        self.listed: ObjectInfo | None = None
        """The object that `changed` has given out last, while it goes on."""
        self._late: Counter[str] = Counter()
        """How often in a row a read gave something else than was listed, by key: a store may answer it from before the write."""

    def write(self, name: str, message: BaseModel) -> None:
        self.write_text(name, message.model_dump_json(indent=1))

    def write_text(self, name: str, text: str) -> None:
        self._store.put(self.key(name), text.encode(), confirm=self._confirm)

    def read(self, name: str, kind: type[Message]) -> Message | None:
        """None for a message that is not there, or that is of another kind."""
        key = self.key(name)
        try:
            data = read_small_object(self._store, key)
        except (NotFound, IntegrityError):
            self._late[key] += 1
            return None
        if self._is_listed(key, data):
            self._late.pop(key, None)
        else:
            self._late[key] += 1
        try:
            return kind.model_validate_json(data)
        except ValidationError:
            return None

    def _is_listed(self, key: str, data: bytes) -> bool:
        """Whether these are the bytes of the listing that is under way. Where an ETag is no MD5 that can't be told."""
        listed = self.listed
        return listed is None or listed.key != key or listed.md5 in (None, md5_of(data))

    def changed(self) -> Iterator[str]:
        """Names of objects that are new or have changed since they were given out last. List once per call."""
        for info in self._store.list(self._folder):
            version = (info.etag, info.mtime, info.size)
            if self._versions.get(info.key) != version:
                self.listed = info
                yield info.key.removeprefix(self._folder)
                if 0 < self._late[info.key] < LATE_READS:
                    continue  # it is given out again
                self._late.pop(info.key, None)
                self._versions[info.key] = version  # the caller has read it without an error
        self.listed = None

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
