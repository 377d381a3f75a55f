"""The quick reading of a listing gives what botocore gives, and leaves it what it does not understand."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import RestXMLParser

from launcher.storage.s3_client import _timestamp
from launcher.storage.s3_listing import read_contents

ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-11-22T04:58:11.250Z</LastModified><ETag>&quot;{etag}&quot;</ETag>"
    "<Size>{size}</Size><StorageClass>STANDARD</StorageClass><Owner><ID>x</ID><DisplayName/></Owner></Contents>"
)
SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def page(entries: str, space: str = SPACE) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult{space}><Name>b</Name><Marker>é</Marker>'
        f"{entries}<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated></ListBucketResult>"
    ).encode()


@pytest.fixture(scope="module")
def parsed() -> Any:
    """botocore's reading of a body, with ours before it or without."""
    model = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3").operation_model("ListObjects")

    def read(body: bytes, *, ours: bool) -> dict[str, Any]:
        answer, custom = {"status_code": 200, "headers": {}, "body": body}, {}
        if ours:
            read_contents(answer, custom, _timestamp, operation_model=model)
        found: dict[str, Any] = RestXMLParser(timestamp_parser=_timestamp).parse(answer, model.output_shape)
        found.update(custom)
        return found

    return read


@pytest.mark.parametrize("space", [SPACE, ""], ids=["with a name space", "without"])
def test_botocore_reads_the_same(parsed: Any, space: str) -> None:
    keys = ["a/b.jpg", "a%20b", "日本/é&amp;&lt;", "x" * 300]
    entries = [ENTRY.format(key=key, etag="0" * 32, size=7 * number) for number, key in enumerate(keys)]
    body = page(
        entries[0] + "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>" + "".join(entries[1:]), space
    )
    ours, theirs = parsed(body, ours=True), parsed(body, ours=False)
    assert len(ours["Contents"]) == 4
    for mine, other in zip(ours.pop("Contents"), theirs.pop("Contents"), strict=True):
        assert mine == {name: other[name] for name in mine}
    assert ours == theirs
    assert theirs["CommonPrefixes"]


@pytest.mark.parametrize(
    "body",
    [
        page(""),
        page(ENTRY.format(key="a", etag="e", size="many")),
        page(ENTRY.format(key="a", etag="e", size=1))[:-9],
        b"<Error><Code>InternalError</Code></Error>",
        b"",
    ],
    ids=["empty", "no number", "torn", "error", "nothing"],
)
def test_the_rest_is_botocores(body: bytes) -> None:
    answer: dict[str, Any] = {"status_code": 200, "body": body}
    custom: dict[str, Any] = {}
    read_contents(answer, custom, _timestamp)
    assert (answer["body"], custom) == (body, {})
