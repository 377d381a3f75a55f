"""Listings of a bucket: pages read from their XML, and a large bucket listed by several requests at a time.

A page needs the key at which the one before it ended, so a listing is a chain of requests, and 1.28 million keys are
1,280 of them. Any text may be such a key: a listing is cut between folders, the pieces are asked for side by side and
given back in order. What the store says is checked at each cut; in doubt the chain goes on where it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, zip_longest
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree  # what botocore reads it with, too; the parser underneath is expat

from launcher.errors import IntegrityError, StoreError, StoreUnreachable
from launcher.storage.base import Pace

PAGE_KEYS = 1000
"""What a store sends at most."""
SIDE_BY_SIDE = 8
AHEAD = 16
"""Pieces in memory or on their way, at most."""
PIECE_PAGES = 4
"""After so many pages a piece is handed over, and the rest of it is another piece."""
FEW_PAGES = 2
"""As many as this come sooner one after another."""
LEVELS = 2
"""How far up from the last key cuts are looked for."""
DOUBT_PAGES = 64
"""So many pages come by the chain after an answer that was doubtful."""
SMALL_LISTING = 10_000
"""Keys. Shorter ones are cut into pieces of one page, longer ones into pieces of three: fewer keys come twice."""


class Entry(NamedTuple):
    """One object as a page tells of it, under its key of the bucket; `mtime` in Unix seconds."""

    key: str
    size: int
    etag: str
    mtime: float


class Page(NamedTuple):
    """Objects in order; folders when a delimiter was asked for; whether more comes after the last key."""

    entries: list[Entry]
    folders: list[str]
    more: bool


FetchPage = Callable[[str, str, str, Pace], Page]
"""Called with prefix, marker and delimiter, which may be empty. Raises StoreError."""


def read_page(body: bytes, *, quoted: bool) -> Page:
    """From the XML; `quoted` is whether keys were asked for that way. Raises ValueError for what is not quite a listing."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314
    except ElementTree.ParseError as error:
        raise ValueError("no XML") from error
    space, _, name = root.tag.rpartition("}")
    if name != "ListBucketResult":
        raise ValueError(f"<{name}> is no listing")
    space = space and space + "}"
    key, size, etag, modified = (f"{space}{tag}" for tag in ("Key", "Size", "ETag", "LastModified"))
    text: Any = unquote_plus if quoted and root.findtext(f"{space}EncodingType") == "url" else str
    entries = [
        Entry(
            text(node.findtext(key, "")),
            int(node.findtext(size, "")),
            node.findtext(etag, "").strip('"'),
            datetime.fromisoformat(node.findtext(modified, "")).timestamp(),
        )
        for node in root.iterfind(f"{space}Contents")
    ]
    folders = [text(node.text or "") for node in root.iterfind(f"{space}CommonPrefixes/{space}Prefix")]
    more = {"true": True, "false": False}.get(root.findtext(f"{space}IsTruncated", ""))
    if more is None or not all(entry.key for entry in entries):
        raise ValueError("a listing without all its parts")
    return Page(entries, folders, more)


def page_of(answer: dict[str, Any], where: str) -> Page:
    """The same from what boto3 gives, which is nothing for many an answer that is no listing. Raises StoreUnreachable."""
    if "IsTruncated" not in answer:
        hint = "check that the endpoint is that of a store, and the proxies on the way"
        raise StoreUnreachable("the answer is no listing", where=where, hint=hint)
    entries = [
        Entry(entry["Key"], entry["Size"], (entry.get("ETag") or "").strip('"'), _seconds(entry))
        for entry in answer.get("Contents") or []
    ]
    folders = [each["Prefix"] for each in answer.get("CommonPrefixes") or []]
    return Page(entries, folders, bool(answer["IsTruncated"]))


def _seconds(entry: dict[str, Any]) -> float:
    stamp = entry.get("LastModified")
    return float(stamp.timestamp()) if stamp else 0.0


class _Doubt(Exception):
    """A store that was asked to go on behind a folder's name answered with something else than that folder."""


@dataclass
class Listing:
    """All objects of the bucket whose key starts with `prefix`, in order. `where` is for messages."""

    fetch: FetchPage
    prefix: str
    where: str
    _marker: str = field(default="", init=False)
    _wait: int = field(default=0, init=False)  # pages until the next search for cuts
    _patience: int = field(default=1, init=False)

    def entries(self) -> Generator[Entry, None, None]:
        """Raises IntegrityError when a page does not go on where the one before it ended."""
        cut = ""
        while True:
            page = self.fetch(self.prefix, cut or self._marker, "", Pace())
            if cut and not _goes_on(page, cut):
                cut, self._wait = "", DOUBT_PAGES
                continue
            chained, cut = not cut, ""
            yield from self._advancing(page.entries)
            if not page.more and chained:  # behind a cut it is asked once more, behind a key
                return
            if not page.more:
                continue
            if not page.entries:
                raise IntegrityError("the listing claims to continue without a single key", where=self.where)
            cuts, per_folder = self._cuts(page.entries)
            if not cuts:
                continue
            try:
                with closing(self._side_by_side(cuts, per_folder)) as found:
                    yield from found
                cut = cuts[-1]
            except _Doubt:
                self._wait = DOUBT_PAGES

    def _advancing(self, entries: list[Entry]) -> Generator[Entry, None, None]:
        for entry, following in zip_longest(entries, islice(entries, 1, None)):
            if following and following.key == entry.key:
                continue  # while an object is replaced some stores list it twice: the later entry counts
            if entry.key <= self._marker or not entry.key.startswith(self.prefix):
                raise IntegrityError(
                    f"the listing does not advance: {entry.key!r} came after {self._marker!r}",
                    where=self.where,
                    hint="the store's listing is broken; nothing was trusted from it",
                )
            self._marker = entry.key
            yield entry

    def _cuts(self, page: list[Entry]) -> tuple[list[str], float]:
        """Folders behind the last key, beside the one that it is in, and about how many keys each has."""
        self._wait -= 1
        level = self._marker[: self._marker.rfind("/") + 1]
        for _ in range(LEVELS if self._wait < 0 else 0):
            if len(level) <= len(self.prefix):
                break
            level = max(self.prefix, level[: level[:-1].rfind("/") + 1], key=len)
            try:
                found = self.fetch(level, self._marker, "/", Pace()).folders
            except StoreError:  # not every store knows delimiters; if it is gone, the chain says so
                self._wait = DOUBT_PAGES
                break
            if found != sorted(
                found
            ):  # a store with an order of its own: a cut would go through it elsewhere
                self._wait = DOUBT_PAGES
                break
            cuts = [each for each in found if each > self._marker and each.startswith(level)]
            below = [entry.key[len(level) :] for entry in page if entry.key.startswith(level)]
            inside = [key.partition("/")[0] for key in below if "/" in key]
            per_folder = len(inside) / max(1, len(set(inside)))
            if len(cuts) > 1 and len(cuts) * per_folder > FEW_PAGES * PAGE_KEYS:
                self._wait, self._patience = 0, 1
                return cuts, per_folder
        if self._wait < 0:
            self._wait, self._patience = self._patience, min(64, 2 * self._patience)
        return [], 0.0

    def _side_by_side(self, cuts: list[str], per_folder: float) -> Generator[Entry, None, None]:
        """Everything behind the last key and up to the last of the cuts. Raises _Doubt."""
        total = len(cuts) * per_folder
        wanted = 0.9 * PAGE_KEYS if total < SMALL_LISTING else 2.9 * PAGE_KEYS
        size = max(1, int(wanted / per_folder))
        ends = cuts[size - 1 :: size]
        if ends[-1:] != cuts[-1:]:
            ends.append(cuts[-1])
        first, pace = self._marker, Pace()
        pieces = zip([first, *ends], ends, strict=False)
        queue: deque[tuple[str, Future[_Piece]]] = deque()
        pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="list")
        try:
            while True:
                for begin, end in islice(pieces, AHEAD - len(queue)):
                    queue.append((end, pool.submit(self._piece, begin, end, pace, cut=begin != first)))
                if not queue:
                    return
                end, future = queue.popleft()
                piece = future.result()
                yield from self._advancing(piece.entries)
                if piece.rest:
                    queue.appendleft((end, pool.submit(self._piece, piece.rest, end, pace, cut=False)))
        except RuntimeError as error:  # no more threads: one request at a time needs none
            raise _Doubt from error
        finally:
            pace.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _piece(self, begin: str, end: str, pace: Pace, *, cut: bool) -> _Piece:
        """Objects behind `begin`, up to `end` included. Any thread may call it."""
        found: list[Entry] = []
        marker = begin
        for _ in range(PIECE_PAGES):
            if pace.stop.is_set():
                break
            page = self.fetch(self.prefix, marker, "", pace)
            if cut and not found and not _goes_on(page, begin):
                raise _Doubt
            keys = [marker, *(entry.key for entry in page.entries)]
            if keys != sorted(keys) or keys[-1] == marker or (not page.more and keys[-1] <= end):
                raise _Doubt  # behind the end there is a folder; else, too, the chain says what is wrong
            found += page.entries
            marker = keys[-1]
            if marker > end:
                return _Piece([entry for entry in found if entry.key <= end], "")
        return _Piece(found, marker)


class _Piece(NamedTuple):
    """Objects of a piece; `rest` is the key behind which the others are, or empty."""

    entries: list[Entry]
    rest: str


def _goes_on(page: Page, cut: str) -> bool:
    """The store named the folder itself, so something in it must come first."""
    return bool(page.entries) and page.entries[0].key.startswith(cut) and page.entries[0].key > cut
