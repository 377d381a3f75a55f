"""Listings of a bucket: one page after another, or large ones in pieces that several threads fetch.

A page begins after the last key of the page before, so a plain listing is a chain of requests: 1,280 of them for 1.28 million
keys. Any text may be the key to begin after. So a large listing is cut at the names of folders; the pieces between two cuts
are fetched at the same time, and their objects are given back in order.

A page that begins at a cut is checked: the store has named that folder, so an object in it must come first. When an answer is
doubtful, the listing goes on as a chain from the last key given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import NamedTuple

from launcher.errors import IntegrityError, StoreError
from launcher.storage.base import Pace
from launcher.storage.s3.pages import PAGE_KEYS, ListedObject, Page

PARALLEL_PIECES = 8
PIECES_AHEAD = 16
"""At most so many pieces are in memory or being fetched."""
PIECE_PAGES = 4
"""After so many pages a piece is given back, and the rest of it becomes another piece."""
FEW_PAGES = 2
"""A listing is not cut when no more than this is left: a chain is as fast."""
LEVELS = 2
"""Cuts are looked for in the folder above that of the last key, and so many folders up in all."""
DOUBT_PAGES = 64
"""After a doubtful answer so many pages come as a chain before cuts are looked for again."""
SMALL_LISTING = 10_000
"""Keys. A shorter rest is cut into pieces of one page, a longer one into pieces of three: fewer keys are sent twice."""

FetchPage = Callable[[str, str, str, Pace], Page]
"""Called with prefix, key to begin after, and delimiter; each may be empty. Raises StoreError."""


class _DoubtfulAnswerError(Exception):
    """A page does not fit the folder names that the store has given."""


class _Cuts(NamedTuple):
    """Names of folders, in order, all after the last key given back; `keys_per_folder` is an estimate."""

    folders: list[str]
    keys_per_folder: float

    @property
    def keys(self) -> float:
        """How many keys lie before the last cut, about."""
        return len(self.folders) * self.keys_per_folder

    def ends(self) -> list[str]:
        """The cuts at which pieces end, so that each piece has about as many keys as fill its pages."""
        keys = 0.9 * PAGE_KEYS if self.keys < SMALL_LISTING else 2.9 * PAGE_KEYS
        step = max(1, int(keys / self.keys_per_folder))
        ends = self.folders[step - 1 :: step]
        return ends if ends[-1:] == self.folders[-1:] else [*ends, self.folders[-1]]


class _Piece(NamedTuple):
    """Objects of a piece. `rest` is the key after which the others of the piece follow, or empty when it is whole."""

    objects: list[ListedObject]
    rest: str


@dataclass
class Listing:
    """All objects of a bucket whose key starts with `prefix`, in order. `where` is for messages."""

    fetch: FetchPage
    prefix: str
    where: str
    _last_key: str = field(default="", init=False)  # the last one given back
    _pause: int = field(default=0, init=False)  # so many pages come before cuts are looked for
    _next_pause: int = field(default=1, init=False)

    def objects(self) -> Generator[ListedObject, None, None]:
        """Raises IntegrityError when a page does not go on where the one before it ended."""
        cut = ""  # where the next page begins; empty: after the last key
        while True:
            page = self.fetch(self.prefix, cut or self._last_key, "", Pace())
            if cut and not _begins_in(page, cut):
                cut, self._pause = "", DOUBT_PAGES
                continue
            at_cut, cut = bool(cut), ""
            yield from self._advancing(page.objects)
            if not page.more and at_cut:  # the end must be confirmed by a page that begins after a key
                continue
            if not page.more:
                return
            if not page.objects:
                raise IntegrityError("the listing claims to continue without a single key", where=self.where)
            cuts = self._find_cuts(page.objects)
            if cuts is None:
                continue
            try:
                with closing(self._in_pieces(cuts)) as objects:
                    yield from objects
                cut = cuts.folders[-1]
            except _DoubtfulAnswerError:
                self._pause = DOUBT_PAGES

    def _advancing(self, objects: list[ListedObject]) -> Generator[ListedObject, None, None]:
        """The same objects, once each. Raises IntegrityError for one that is not after the last key."""
        for listed, following in zip_longest(objects, islice(objects, 1, None)):
            if following and following.key == listed.key:
                continue  # some stores list an object twice while it is replaced: the later entry counts
            if listed.key <= self._last_key or not listed.key.startswith(self.prefix):
                raise IntegrityError(
                    f"the listing does not advance: {listed.key!r} stands after {self._last_key!r}",
                    where=self.where,
                    hint="the store's listing is broken; nothing was trusted from it",
                )
            self._last_key = listed.key
            yield listed

    def _find_cuts(self, page: list[ListedObject]) -> _Cuts | None:
        """Folders after the last key, when enough keys lie in them to fetch them in pieces."""
        self._pause -= 1
        if self._pause >= 0:
            return None
        for level in self._levels():
            try:
                names = self.fetch(level, self._last_key, "/", Pace()).folders
            except StoreError:  # not every store knows delimiters; if the store is gone, the chain reports it
                names = None
            if names is None or names != sorted(names):  # a store with an order of its own can't be cut
                self._pause = DOUBT_PAGES
                return None
            folders = [each for each in names if each > self._last_key and each.startswith(level)]
            cuts = _Cuts(folders, _keys_per_folder(page, level))
            if len(folders) > 1 and cuts.keys > FEW_PAGES * PAGE_KEYS:
                self._pause, self._next_pause = 0, 1
                return cuts
        self._pause, self._next_pause = self._next_pause, min(64, 2 * self._next_pause)
        return None

    def _levels(self) -> Iterator[str]:
        """The folder that holds the last key's folder, then the one above it; never above the prefix."""
        level = self._last_key[: self._last_key.rfind("/") + 1]
        for _ in range(LEVELS):
            if len(level) <= len(self.prefix):
                return
            level = max(self.prefix, level[: level[:-1].rfind("/") + 1], key=len)
            yield level

    def _in_pieces(self, cuts: _Cuts) -> Generator[ListedObject, None, None]:
        """All objects after the last key and before the last cut. Raises _DoubtfulAnswerError."""
        first, pace, ends = self._last_key, Pace(), cuts.ends()
        pieces = zip([first, *ends], ends, strict=False)
        queue: deque[tuple[str, Future[_Piece]]] = deque()
        pool = ThreadPoolExecutor(PARALLEL_PIECES, thread_name_prefix="list")
        try:
            while True:
                for begin, end in islice(pieces, PIECES_AHEAD - len(queue)):
                    queue.append((end, pool.submit(self._piece, begin, end, pace, at_cut=begin != first)))
                if not queue:
                    return
                end, future = queue.popleft()
                piece = future.result()
                yield from self._advancing(piece.objects)
                if piece.rest:
                    queue.appendleft((end, pool.submit(self._piece, piece.rest, end, pace, at_cut=False)))
        except RuntimeError as error:  # no more threads can be started: a chain needs none
            raise _DoubtfulAnswerError from error
        finally:
            pace.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _piece(self, begin: str, end: str, pace: Pace, *, at_cut: bool) -> _Piece:
        """Objects after `begin`, up to `end`. Any thread may call it. Raises _DoubtfulAnswerError."""
        objects: list[ListedObject] = []
        last_key = begin
        for _ in range(PIECE_PAGES):
            if pace.stop.is_set():
                break
            page = self.fetch(self.prefix, last_key, "", pace)
            if at_cut and not objects and not _begins_in(page, begin):
                raise _DoubtfulAnswerError
            keys = [last_key, *(each.key for each in page.objects)]
            ends_early = not page.more and keys[-1] <= end  # the folder named `end` must still come
            if keys != sorted(keys) or keys[-1] == last_key or ends_early:
                raise _DoubtfulAnswerError
            objects += page.objects
            last_key = keys[-1]
            if last_key > end:
                return _Piece([each for each in objects if each.key <= end], "")
        return _Piece(objects, last_key)


def _keys_per_folder(page: list[ListedObject], level: str) -> float:
    """About how many keys a folder directly in `level` has, by the folders of this page."""
    below = [each.key[len(level) :] for each in page if each.key.startswith(level)]
    names = [key.partition("/")[0] for key in below if "/" in key]
    return len(names) / max(1, len(set(names)))


def _begins_in(page: Page, folder: str) -> bool:
    """Whether the first object of the page lies in the folder."""
    return bool(page.objects) and page.objects[0].key.startswith(folder) and page.objects[0].key > folder
