"""Creating an object only when there is none: one winner on every store that can do it, an error on the others."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import StoreError
from launcher.storage import ObjectStore, open_store
from launcher.storage.base import NoConditionalPut
from tests.servers.faults import Answer, Faults, reset, status
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on


@pytest.fixture(params=["file", "memory", "radosgw"])
def able(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store that can do it."""
    if request.param == "file":
        return open_store(str(tmp_path / "store"))
    if request.param == "memory":
        return open_store(f"memory://{tmp_path.name}/x")
    return open_on(request.getfixturevalue("radosgw"))


def test_the_first_one_wins(able: ObjectStore) -> None:
    assert able.put_new("a/x", b"first")
    assert not able.put_new("a/x", b"second")
    assert able.substore("a").read("x") == b"first"
    assert [info.key for info in able.list()] == ["a/x"]
    able.delete("a/x")
    assert able.put_new("a/x", b"third")


def test_of_many_writers_one_wins(able: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(3):
            won = list(pool.map(lambda n, key=f"x{number}": able.put_new(key, b"%d" % n), range(8)))
            assert won.count(True) == 1
            assert able.read(f"x{number}") == b"%d" % won.index(True)


def test_a_store_that_ignores_the_condition_is_found_out(rclone: S3Server) -> None:
    for _ in range(2):
        with pytest.raises(NoConditionalPut, match="ignores"):
            open_on(rclone).put_new("x", b"data")


def test_a_page_of_something_else_is_no_proof_against_a_store(faulty: ObjectStore, faults: Faults) -> None:
    """The second try, which must be refused, is answered by a login page."""

    def page(answer: Answer) -> None:
        answer.status, answer.headers, answer.body = (
            200,
            [("Content-Type", "text/html")],
            b"<html>log in</html>",
        )

    faults.add(lambda _: faults.add(page, method="PUT", times=1), method="PUT", times=1)
    assert faulty.put_new("x", b"mine")
    assert not faulty.put_new("x", b"theirs")
    assert faulty.read("x") == b"mine"


@pytest.mark.parametrize("when", ["always", "once there is an object"])
@pytest.mark.parametrize("code", [(400, "InvalidArgument"), (403, "SignatureDoesNotMatch"), (400, "Unheard")])
def test_a_condition_may_be_refused_with_any_code(
    faulty: ObjectStore, faults: Faults, code: tuple[int, str], when: str
) -> None:
    """As behind a proxy that removes the header, which was signed. Callers then do without the condition."""
    if when == "always":
        faults.add(status(*code), method="PUT", passes=False)
    else:
        faults.add(lambda _: faults.add(status(*code), method="PUT", passes=False), method="PUT", times=1)
    with pytest.raises(NoConditionalPut, match="with a condition") as caught:
        faulty.put_new("x", b"data")
    assert caught.value.where == faulty.join("x")
    assert caught.value.hint


@pytest.mark.parametrize(
    "code", [(304, ""), (409, "ObjectAlreadyExists"), (409, "FileAlreadyExists"), (412, "")]
)
def test_a_store_may_tell_in_many_ways_that_there_is_one(
    faulty: ObjectStore, faults: Faults, code: tuple[int, str]
) -> None:
    faulty.put("x", b"theirs")
    faults.add(status(*code), method="PUT", passes=False)
    assert not faulty.put_new("x", b"mine")


def test_a_store_that_refuses_the_condition(faulty: ObjectStore, faults: Faults) -> None:
    faults.add(status(501, "NotImplemented"), method="PUT")
    with pytest.raises(NoConditionalPut, match="refuses"):
        faulty.put_new("x", b"data")


@pytest.mark.parametrize("fault", [reset, status(503, "SlowDown"), status(500, "InternalError")])
def test_a_lost_answer_is_cleared_up_by_the_content(faulty: ObjectStore, faults: Faults, fault: Any) -> None:
    """The proxy passes the request on before it breaks the answer."""
    faults.add(fault, method="PUT", times=1)
    assert faulty.put_new("mine", b"mine")
    faulty.put("theirs", b"theirs")
    faults.add(fault, method="PUT", times=1)
    assert not faulty.put_new("theirs", b"mine")
    assert faulty.read("theirs") == b"theirs"


def test_a_conflict_of_two_requests_is_repeated(faulty: ObjectStore, faults: Faults) -> None:
    def conflict(answer: Answer) -> None:
        status(409, "ConditionalRequestConflict")(answer)

    faults.add(conflict, method="PUT", times=1)
    assert faulty.put_new("x", b"data")


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    store = open_store(str(tmp_path))
    with pytest.raises(NoConditionalPut, match="hard links"):
        store.put_new("x", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_above_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StoreError, match="file and a folder"):
        open_store(str(tmp_path)).put_new("a/x", b"data")
