"""Pages are read as botocore reads them; a listing by many requests at a time is the listing by one after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import IntegrityError, StoreRefused, StoreUnreachable
from launcher.storage.base import Pace
from launcher.storage.s3 import listing as s3_listing
from launcher.storage.s3.listing import FetchPage, Listing
from launcher.storage.s3.pages import ListedObject, Page


class Bucket:
    """Keys, listed as S3 lists them, `size` to a page."""

    def __init__(self, keys: list[str], size: int) -> None:
        self.keys, self.size = sorted(keys), size
        self.asked = self.running = self.most = 0
        self.lock = threading.Lock()

    def fetch(self, prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        with self.lock:
            self.asked, self.running = self.asked + 1, self.running + 1
            self.most = max(self.most, self.running)
        if len(self.keys) > 100:
            time.sleep(0.001)
        rows: dict[str, None] = {}
        for key in self.keys:
            if key.startswith(prefix) and key > marker:
                cut = key.find(delimiter, len(prefix)) + 1 if delimiter else 0
                rows[key[:cut] or key] = None
        shown = [row for row in rows if row > marker]
        with self.lock:
            self.running -= 1
        part = shown[: self.size]
        objects = [
            ListedObject(row, 1, "e", 0.0) for row in part if not (delimiter and row.endswith(delimiter))
        ]
        folders = [row for row in part if delimiter and row.endswith(delimiter)]
        return Page(objects, folders, len(shown) > len(part))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "PAGE_KEYS", 5)
    monkeypatch.setattr(s3_listing, "SMALL_LISTING", 60)


def keys_of(fetch: FetchPage, prefix: str) -> list[str]:
    return [entry.key for entry in Listing(fetch, prefix, "s3://b").objects()]


NAMES = st.text("ab./-é", min_size=1, max_size=3)
TREES = st.lists(
    st.builds(lambda *parts: "set/" + "/".join(parts), NAMES, NAMES, st.integers(0, 40).map(str)), max_size=80
)


@given(TREES, st.sampled_from(["", "set/", "set/a", "set/a/"]), st.integers(1, 7))
def test_any_tree_comes_whole_and_in_order(keys: list[str], prefix: str, size: int) -> None:
    keys = sorted(
        set(keys) | {f"{key.rpartition('/')[0]}/" for key in keys[::5]}
    )  # with some markers of folders
    before, s3_listing.PAGE_KEYS = s3_listing.PAGE_KEYS, size
    try:
        assert keys_of(Bucket(keys, size).fetch, prefix) == [key for key in keys if key.startswith(prefix)]
    finally:
        s3_listing.PAGE_KEYS = before


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("sizes", [[3] * 60, [7] * 60, [1, 90, 2, 1, 40], [200, 1, 1, 1]], ids=str)
def test_a_large_bucket_is_asked_side_by_side(sizes: list[int]) -> None:
    """Folders of 3 and 7 keys, pages of 5, and some folders of many pages."""
    keys = [
        f"set/{part}/c{n:02}/{m}" for part in ("t", "v") for n, size in enumerate(sizes) for m in range(size)
    ]
    bucket = Bucket(keys, 5)
    assert keys_of(bucket.fetch, "set/") == sorted(keys)
    assert 2 <= bucket.most <= s3_listing.PARALLEL_PIECES
    assert bucket.asked <= len(keys) / 5 * 1.8 + 12


def test_folders_of_one_object_are_no_reason_to_ask_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "PAGE_KEYS", 20)
    bucket = Bucket([f"d/{n:04}/only/x" for n in range(1000)], 20)
    assert len(keys_of(bucket.fetch, "d/")) == 1000
    assert bucket.asked <= 50 * 1.5
    flat = Bucket([f"d/{n:04}" for n in range(1000)], 20)
    assert len(keys_of(flat.fetch, "d/")) == 1000
    assert flat.asked == 50


def only_known_markers(bucket: Bucket) -> FetchPage:
    """A store that has nothing to say behind a key that it does not have."""

    def fetch(prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        known = not marker or marker in bucket.keys
        return bucket.fetch(prefix, marker, delimiter, pace) if known else Page([], [], False)

    return fetch


def from_the_start(bucket: Bucket) -> FetchPage:
    """A store that begins anew when it does not have the key."""

    def fetch(prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        return bucket.fetch(prefix, marker if marker in bucket.keys else "", delimiter, pace)

    return fetch


def skips_the_folder(bucket: Bucket) -> FetchPage:
    """A store that goes on behind everything in the folder that is named."""

    def fetch(prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        behind = marker + "\U0010ffff" if marker.endswith("/") else marker
        return bucket.fetch(prefix, behind, delimiter, pace)

    return fetch


def no_delimiters(bucket: Bucket) -> FetchPage:
    """A store that refuses what it does not know."""

    def fetch(prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        if delimiter:
            raise StoreRefused("no delimiters here", where="s3://b")
        return bucket.fetch(prefix, marker, delimiter, pace)

    return fetch


def says_it_is_the_last(bucket: Bucket) -> FetchPage:
    """A store that ends a listing early when it is asked to begin in the middle."""

    def fetch(prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        found = bucket.fetch(prefix, marker, delimiter, pace)
        return found._replace(more=False) if marker.endswith("/") else found

    return fetch


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_store_with_an_order_of_its_own_is_refused(at: int) -> None:
    """Folder by folder, as a walk over a disk gives them: `c01/` before `c01-b/`."""
    names = sorted({*(f"c{n:02}" for n in range(40)), f"c{at:02}-b"})
    keys = [f"set/{name}/{m}" for name in names for m in range(7)]

    class Walked(Bucket):
        def fetch(self, prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
            behind = [
                at for at, key in enumerate(keys) if key == marker or (marker.endswith("/") and key < marker)
            ]
            self.keys = keys[behind[-1] + 1 if marker else 0 :]
            return super().fetch(prefix, "", delimiter, pace)

    with pytest.raises(IntegrityError, match="does not advance"):
        keys_of(Walked(keys, 5).fetch, "set/")


@pytest.mark.usefixtures("small_pages")
def test_without_more_threads_a_listing_is_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor:
        def __init__(self, *_: Any, **__: Any) -> None:
            """A pool on a machine that starts no thread any more."""

        def submit(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("can't start new thread")

        def shutdown(self, **_: Any) -> None:
            """Nothing to wait for."""

    monkeypatch.setattr(s3_listing, "ThreadPoolExecutor", Poor)
    keys = [f"set/c{n:02}/{m}" for n in range(40) for m in range(3)]
    assert keys_of(Bucket(keys, 5).fetch, "set/") == keys


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(
    "kind", [only_known_markers, from_the_start, skips_the_folder, no_delimiters, says_it_is_the_last]
)
def test_a_store_that_does_not_know_the_marker_is_found_out(kind: Callable[[Bucket], FetchPage]) -> None:
    keys = [f"set/c{n:02}/{m}" for n in range(40) for m in range(3)]
    assert keys_of(kind(Bucket(keys, 5)), "set/") == keys


@pytest.mark.usefixtures("small_pages")
def test_an_empty_folder_s_marker_is_no_end() -> None:
    keys = sorted(
        [f"set/c{n:02}/" for n in range(40)] + [f"set/c{n:02}/{m}" for n in range(30) for m in range(3)]
    )
    assert keys_of(Bucket(keys, 5).fetch, "set/") == keys


@pytest.mark.usefixtures("small_pages")
def test_a_piece_that_fails_ends_the_listing_in_its_place() -> None:
    keys = [f"set/c{n:02}/{m}" for n in range(60) for m in range(3)]
    bucket = Bucket(keys, 5)

    def fetch(prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        if marker > "set/c30/":
            raise StoreUnreachable("gone", where="s3://b")
        return bucket.fetch(prefix, marker, delimiter, pace)

    found: list[str] = []
    with pytest.raises(StoreUnreachable):
        found.extend(entry.key for entry in Listing(fetch, "set/", "s3://b").objects())
    got: list[str] = []
    with pytest.raises(StoreUnreachable):
        for entry in Listing(fetch, "set/", "s3://b").objects():
            got.append(entry.key)
    assert got == keys[: len(got)]
    assert len(got) >= 80
    assert threading.active_count() < 20


@pytest.mark.usefixtures("small_pages")
def test_who_stops_early_waits_for_nobody() -> None:
    bucket = Bucket([f"set/c{n:03}/{m}" for n in range(500) for m in range(3)], 5)
    objects = Listing(bucket.fetch, "set/", "s3://b").objects()
    for _ in range(8):
        next(objects)
    objects.close()
    assert bucket.asked < 80
    assert not [each for each in threading.enumerate() if each.name.startswith("list")]


@pytest.mark.usefixtures("small_pages")
def test_pieces_that_do_not_advance_are_refused() -> None:
    bucket = Bucket([f"set/c{n:02}/{m}" for n in range(40) for m in range(3)], 5)

    def fetch(prefix: str, marker: str, delimiter: str, pace: Pace) -> Page:
        found = bucket.fetch(prefix, marker, delimiter, pace)
        return found._replace(objects=found.objects[::-1]) if marker > "set/c20/" and not delimiter else found

    with pytest.raises(IntegrityError, match="does not advance"):
        keys_of(fetch, "set/")
