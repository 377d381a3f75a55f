"""Listings of radosgw, page by page: complete, in order, and none that contradicts itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.handlers import decode_list_object
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import RestXMLParser

from launcher.errors import IntegrityError, StoreUnreachable
from launcher.storage import open_store
from launcher.storage.s3 import listing as s3_listing
from launcher.storage.s3 import pages as s3_pages
from launcher.storage.s3 import store as s3
from launcher.storage.s3.pages import Page, page_of_boto3, read_page
from tests.servers.faults import Answer, Faults, cut, reset
from tests.servers.s3 import S3Server
from tests.servers.stores import BUCKET


@pytest.fixture(scope="module")
def many(radosgw: S3Server) -> str:
    """1,200 tiny objects, put by a plain client from several threads; returns their folder."""
    from concurrent.futures import ThreadPoolExecutor

    client = radosgw.client()
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda n: client.put_object(Bucket=BUCKET, Key=f"many/c{n % 7}/{n:05}.jpg", Body=b"x"),
                range(1200),
            )
        )
    return "many"


def test_listing_pages_the_first_way_and_completely(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)
    keys = [info.key for info in store.list()]
    assert len(keys) == 1200
    assert keys == sorted(keys)
    assert faults.count("GET") >= 2
    assert faults.count("GET", "list-type") == 0, "the second version of the call loses keys on some stores"


@pytest.mark.parametrize("engine", ["auto", "boto3"])
@pytest.mark.parametrize("server_name", ["radosgw", "rclone"])
def test_a_listing_by_many_requests_at_a_time(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server_name: str, engine: str
) -> None:
    """Small pages, so that few objects are many pages; some keys that sort beside a folder's."""
    server: S3Server = request.getfixturevalue(server_name)
    client = server.client()
    parts = ["-x", ".x", "/a b+é", "/z/1", *(f"/{m}" for m in range(9))]
    names = [f"c{n:02}{part}" for n in range(20) for part in parts] + ["last"]
    for name in names:
        client.put_object(Bucket=BUCKET, Key=f"side/{name}", Body=b"x")
    for module in (s3_listing, s3, s3_pages):
        monkeypatch.setattr(module, "PAGE_KEYS", 20)
    monkeypatch.setenv("LAUNCHER_S3_ENGINE", engine)
    asked: list[tuple[str, str]] = []
    real = s3.S3Store._page

    def page(self: Any, prefix: str, marker: str, delimiter: str, pace: Any) -> Any:
        asked.append((marker, delimiter))
        return real(self, prefix, marker, delimiter, pace)

    monkeypatch.setattr(s3.S3Store, "_page", page)
    store = open_store(f"s3://{BUCKET}/side", endpoint=server.endpoint, env=server.env)
    assert [info.key for info in store.list()] == sorted(names)
    assert any(delimiter for _, delimiter in asked)
    assert any(marker.endswith("/") for marker, delimiter in asked if not delimiter)
    assert [info.key for info in store.list("c07")] == sorted(
        name for name in names if name.startswith("c07")
    )


def test_a_listing_that_repeats_itself_is_refused(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)
    pages: list[bytes] = []

    def first_page_again(answer: Answer) -> None:
        pages.append(answer.body)
        answer.body = pages[0]

    faults.add(first_page_again)
    with pytest.raises(IntegrityError, match="does not advance"):
        list(store.list())


def test_a_listing_that_promises_more_than_it_has(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)

    def empty_but_truncated(answer: Answer) -> None:
        answer.body = (
            b"<ListBucketResult><Name>bucket</Name><IsTruncated>true</IsTruncated></ListBucketResult>"
        )

    faults.add(empty_but_truncated, path="marker=many")
    with pytest.raises(IntegrityError, match="without a single key"):
        list(store.list())


def test_an_object_that_is_listed_twice_while_it_is_replaced_is_one(
    radosgw: S3Server, faults: Faults, many: str
) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)

    def first_twice(answer: Answer) -> None:
        start = answer.body.index(b"<Contents>")
        entry = answer.body[start : answer.body.index(b"</Contents>") + len(b"</Contents>")]
        other = re.sub(rb"<Size>\d+</Size>", b"<Size>77</Size>", entry)
        answer.body = answer.body.replace(entry, entry + other, 1)

    faults.add(first_twice, times=1)
    infos = list(store.list())
    assert len(infos) == 1200
    assert infos[0].size == 77, "the later entry counts"


def test_a_torn_page_is_fetched_again(radosgw: S3Server, faults: Faults, many: str) -> None:
    store = open_store(f"s3://{BUCKET}/{many}", endpoint=faults.endpoint, env=radosgw.env)
    faults.add(cut, times=1)
    faults.add(reset, path="marker=many", times=1)
    assert len(list(store.list())) == 1200


def test_the_marker_of_the_root_folder_is_no_object(radosgw: S3Server) -> None:
    client = radosgw.client()
    client.put_object(Bucket=BUCKET, Key="console/", Body=b"")
    client.put_object(Bucket=BUCKET, Key="console/train/", Body=b"")
    store = open_store(f"s3://{BUCKET}/console", endpoint=radosgw.endpoint, env=radosgw.env)
    assert [info.key for info in store.list()] == ["train/"]


ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-11-22T04:58:11.250Z</LastModified><ETag>&quot;{etag}&quot;</ETag>"
    "<Size>{size}</Size><StorageClass>STANDARD</StorageClass><Owner><ID>x</ID><DisplayName/></Owner></Contents>"
)


SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def page(entries: str, space: str = SPACE, quoted: str = "<EncodingType>url</EncodingType>") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult{space}><Name>b</Name><Marker>é</Marker>'
        f"{entries}{quoted}<IsTruncated>true</IsTruncated></ListBucketResult>"
    ).encode()


@pytest.mark.parametrize("space", [SPACE, ""], ids=["with a name space", "without"])
@pytest.mark.parametrize("quoted", ["<EncodingType>url</EncodingType>", ""], ids=["quoted", "plain"])
def test_botocore_reads_the_same(space: str, quoted: str) -> None:
    keys = ["a/b.jpg", "a%20b+c", "日本/é&amp;&lt;", "x" * 300]
    entries = [ENTRY.format(key=key, etag="0" * 32, size=7 * number) for number, key in enumerate(keys)]
    folder = "<CommonPrefixes><Prefix>p%2F</Prefix></CommonPrefixes>"
    body = page(entries[0] + folder + "".join(entries[1:]) + folder.replace("p", "q"), space, quoted)
    model = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3").operation_model("ListObjects")
    answer = {"status_code": 200, "headers": {}, "body": body}
    theirs: dict[str, Any] = RestXMLParser().parse(answer, model.output_shape)
    decode_list_object(theirs, {"encoding_type_auto_set": True})
    assert read_page(body, quoted=True) == page_of_boto3(theirs, "s3://b")
    assert len(theirs["Contents"]) == 4
    assert read_page(body, quoted=True).folders[0] == ("p/" if quoted else "p%2F")
    assert read_page(body, quoted=False).folders[0] == "p%2F"
    assert read_page(page("", quoted=quoted), quoted=True) == Page([], [], True)


@pytest.mark.parametrize(
    "body",
    [
        page(ENTRY.format(key="a", etag="e", size="many")),
        page(ENTRY.format(key="", etag="e", size=1)),
        page(ENTRY.format(key="a", etag="e", size=1).replace("2026-", "")),
        page(ENTRY.format(key="a", etag="e", size=1))[:-9],
        page("").replace(b"true", b"maybe"),
        b"<html><body>Welcome to our hotel</body></html>",
        b"<Error><Code>InternalError</Code></Error>",
        b"",
    ],
    ids=["no number", "no key", "no time", "torn", "no end", "portal", "error", "nothing"],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # whatever it says: it is not shown to anybody
        read_page(body, quoted=True)


def test_an_answer_of_which_boto3_makes_nothing_is_no_end_of_a_listing() -> None:
    with pytest.raises(StoreUnreachable, match="no listing"):
        page_of_boto3({"ResponseMetadata": {"HTTPStatusCode": 200}}, "s3://b")
