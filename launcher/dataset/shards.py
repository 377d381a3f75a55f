"""A packed data set: tar shards, an index of each, and `packed.json`, which names them all and is written last.

    packed.json             this module's `Packed`: every shard with size and sha256, classes and their images
    shards/train-00000.tar  an ordinary tar file
    shards/train-00000.tsv  `#tar <bytes> <sha256>`, then offset, size, sha256 and key of every file in it

Nothing is trusted but through `packed.json`: it pins each index, and each shard, by sha256. docs/shards.md has the
format for other readers.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from launcher.errors import IntegrityError, NotFound
from launcher.jsontext import parse_json
from launcher.storage.base import ObjectStore
from launcher.storage.keys import check_key

PACKED = "packed.json"
KIND: Final = "ascend-launcher packed data set"
FOLDER = "shards"
BLOCK = 512
END = bytes(2 * BLOCK)
_REPACK = "pack the data set again into an empty folder"
_Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a shard: its bytes are `size` bytes of the tar file from `offset` on."""

    key: str
    offset: int
    size: int
    sha256: str


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shard(_Value):
    """One tar file. `payload` is the sum of its files' sizes, `bytes` the size of the tar file."""

    name: str = Field(pattern=r"^(train|val|data)-[0-9]{5,}$")
    split: Literal["train", "val", ""]
    files: int = Field(ge=1)
    images: int = Field(ge=0)
    payload: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = _Sha256
    index_bytes: int = Field(ge=0)
    index_sha256: str = _Sha256

    @property
    def tar(self) -> str:
        """Key of the tar file."""
        return tar_key(self.name)

    @property
    def index(self) -> str:
        """Key of its index."""
        return index_key(self.name)


class Packed(_Value):
    """A whole packed data set. `classes` counts the images of every class folder of every split."""

    kind: Literal["ascend-launcher packed data set"] = KIND
    format: Literal[1] = 1
    seed: int
    shard_bytes: int
    classes: dict[str, dict[str, int]]
    shards: tuple[Shard, ...] = Field(min_length=1)

    @property
    def files(self) -> int:
        return sum(shard.files for shard in self.shards)

    @property
    def payload(self) -> int:
        return sum(shard.payload for shard in self.shards)

    @property
    def digest(self) -> str:
        """Over everything above, and so over every byte of the data set."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def of_split(self, split: str) -> tuple[Shard, ...]:
        """The shards of `train`, `val`, or '' for the rest."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def to_bytes(self) -> bytes:
        """The content of `packed.json`."""
        return (json.dumps({**self.model_dump(mode="json"), "digest": self.digest}, indent=1) + "\n").encode()


def tar_key(name: str) -> str:
    return f"{FOLDER}/{name}.tar"


def index_key(name: str) -> str:
    return f"{FOLDER}/{name}.tsv"


def read_packed(store: ObjectStore) -> Packed | None:
    """What `packed.json` says, or None when the store holds no packed data set.

    Raises IntegrityError when there is one that can't be trusted.
    """
    try:
        data = store.read(PACKED)
    except NotFound:
        return None
    return parse_packed(data, store.join(PACKED))


def parse_packed(data: bytes, where: str) -> Packed | None:
    """The value of a `packed.json`, or None for another program's file of that name. Raises IntegrityError."""
    try:
        value: Any = parse_json(data)
    except ValueError as error:
        raise IntegrityError(
            "is no JSON, so the data set can't be read", where=where, hint=_REPACK
        ) from error
    if not isinstance(value, dict) or value.get("kind") != KIND:
        return None
    if value.get("format") != 1:
        raise IntegrityError(
            f"has format {value.get('format')!r}; this launcher reads format 1",
            where=where,
            hint="use the launcher that packed it, or pack it again",
        )
    stated = value.pop("digest", None)
    try:
        packed = Packed.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise IntegrityError(f"{place}: {first['msg']}", where=where, hint=_REPACK) from error
    if packed.digest != stated:
        raise IntegrityError("does not match its own digest", where=where, hint=_REPACK)
    return packed


def tar_header(key: str, size: int) -> bytes:
    """What stands before a file in a shard: the same bytes for the same key and size, always."""
    info = tarfile.TarInfo(key)
    info.size, info.mtime, info.mode = size, 0, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> int:
    """Bytes up to the next block."""
    return -size % BLOCK


def dump_index(tar_bytes: int, tar_sha256: str, members: Iterable[Member]) -> bytes:
    """The content of a shard's index."""
    lines = [f"#tar\t{tar_bytes}\t{tar_sha256}\n"]
    lines += [f"{each.offset}\t{each.size}\t{each.sha256}\t{each.key}\n" for each in members]
    return "".join(lines).encode()


def parse_index(data: bytes, where: str) -> tuple[int, str, list[Member]]:
    """Size and sha256 of the tar file and its members in order. Raises StoreError for a key that can't be a file."""
    try:
        lines = data.decode().split("\n")
        mark, tar_bytes, tar_sha256 = lines[0].split("\t")
        members = []
        end = 0
        for line in lines[1:-1]:
            offset, size, sha256, key = line.split("\t")
            member = Member(check_key(key, where), int(offset), int(size), sha256)
            if member.offset < end or member.size < 0:
                raise ValueError(f"{key!r} overlaps the file before it")
            end = member.offset + member.size
            members.append(member)
        if mark != "#tar" or lines[-1] or end > int(tar_bytes):
            raise ValueError("its lines don't fit the tar file")
        return int(tar_bytes), tar_sha256, members
    except ValueError as error:
        raise IntegrityError(f"is no index of a shard: {error}", where=where, hint=_REPACK) from error


def read_members(store: ObjectStore, shard: Shard) -> list[Member]:
    """The files of a shard, in the order of their bytes. Raises IntegrityError unless the index is the one packed."""
    where = store.join(shard.index)
    data = store.read(shard.index)
    if hashlib.sha256(data).hexdigest() != shard.index_sha256:
        raise IntegrityError("does not match its sha256", where=where, hint=f"copy it again, or {_REPACK}")
    tar_bytes, tar_sha256, members = parse_index(data, where)
    counts = (len(members), sum(each.size for each in members))
    if (tar_bytes, tar_sha256, *counts) != (shard.bytes, shard.sha256, shard.files, shard.payload):
        raise IntegrityError("does not fit packed.json", where=where, hint=_REPACK)
    return members


def divide(shards: Iterable[Shard], parts: int) -> list[list[Shard]]:
    """The shards in `parts` groups with about the same number of images: the largest first, each to the smallest group."""
    groups: list[list[Shard]] = [[] for _ in range(parts)]
    for shard in sorted(shards, key=lambda each: (-each.images, each.name)):
        min(groups, key=lambda group: sum(each.images for each in group)).append(shard)
    return [sorted(group, key=lambda each: each.name) for group in groups]
