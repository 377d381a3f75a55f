"""Pages of a bucket's listing: read from their XML, asked for by botocore's signer and connections or by boto3's client.

boto3's client takes a tenth of a second of CPU time per page of 1,000 keys, and more to start; obstore has only the second
version of the call, which some stores answer as if it were the first.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree  # botocore reads answers with it, too; the parser underneath is expat

from launcher.clock import iso_time
from launcher.errors import StoreUnreachable
from launcher.storage.s3 import client as s3_client
from launcher.storage.s3.facts import plain_etag
from launcher.storage.s3.kinds import PROXIES
from launcher.storage.s3.route import Route

PAGE_KEYS = 1000
"""A store sends at most this many keys at a time."""


class ListedObject(NamedTuple):
    """One object as a page describes it, with its key in the bucket; `mtime` in Unix seconds."""

    key: str
    size: int
    etag: str
    mtime: float


class Page(NamedTuple):
    """Objects in order; folders when a delimiter was asked for; whether more objects follow the last key."""

    objects: list[ListedObject]
    folders: list[str]
    more: bool


class _Botocore(NamedTuple):
    """What a page takes of botocore: a request, its signature, and the connections."""

    make_request: Any
    make_signer: Any
    session: Any


class PageClient:
    """Asks for pages without boto3's client. Any thread of the process that made it may call it.

    Botocore is imported for the first page: that takes as long as all else that a process does before its first byte, and
    many processes only read objects that they know.
    """

    def __init__(self, route: Route, connections: int) -> None:
        self._route = route
        self._connections = connections

    @cached_property
    def _botocore(self) -> _Botocore:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.httpsession import URLLib3Session

        route = self._route
        scheme = route.url.partition(":")[0]
        session = URLLib3Session(
            verify=route.ca_bundle or True,
            proxies={scheme: route.proxy} if route.proxy else None,
            timeout=(s3_client.CONNECT_TIMEOUT_S, s3_client.READ_TIMEOUT_S),
            max_pool_connections=self._connections,
        )
        return _Botocore(AWSRequest, S3SigV4Auth, session)

    def fetch(self, prefix: str, marker: str, delimiter: str) -> Page:
        """One page of keys with `prefix` after `marker`. Raises ValueError for any answer that is no page, and what botocore raises."""
        route = self._route
        params = {"marker": marker, "max-keys": str(PAGE_KEYS), "prefix": prefix}
        params |= {"delimiter": delimiter} if delimiter else {}
        params |= {"encoding-type": "url"} if route.quoted else {}
        headers = {s3_client.PAYER_HEADER: "requester"} if route.requester_pays else {}
        botocore = self._botocore
        request = botocore.make_request("GET", f"{route.url}/", params=params, headers=headers)
        botocore.make_signer(route.credentials.get_frozen_credentials(), "s3", route.region).add_auth(request)
        answer = botocore.session.send(request.prepare())
        if answer.status_code != 200:
            raise ValueError(f"the store answered {answer.status_code}")
        return read_page(answer.content, quoted=route.quoted)


def read_page(body: bytes, *, quoted: bool) -> Page:
    """A page from its XML. `quoted` is whether URL-encoded keys were asked for. Raises ValueError unless it is a whole page."""
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
    objects = [
        ListedObject(
            text(node.findtext(key, "")),
            int(node.findtext(size, "")),
            plain_etag(node.findtext(etag)),
            iso_time(node.findtext(modified, "")).timestamp(),
        )
        for node in root.iterfind(f"{space}Contents")
    ]
    folders = [text(node.text or "") for node in root.iterfind(f"{space}CommonPrefixes/{space}Prefix")]
    more = {"true": True, "false": False}.get(root.findtext(f"{space}IsTruncated", ""))
    if more is None or not all(each.key and each.size >= 0 for each in objects):
        raise ValueError("a part of the listing is missing")
    return Page(objects, folders, more)


def ask_boto3(client: Any, where: str, **names: Any) -> Page:
    """A page by boto3. Keys that XML can't hold are asked for once more, URL-encoded. Raises what boto3 does, StoreUnreachable."""
    from botocore.exceptions import ClientError

    try:
        return page_of_boto3(client.list_objects(**names), where)
    except ClientError as error:
        if error.response["Error"]["Code"] != "500":  # botocore's own word for an answer that is no XML
            raise
        answer = client.list_objects(**names, EncodingType="url")
        if answer.get("EncodingType") != "url":
            raise
        return _decoded(page_of_boto3(answer, where))


def _decoded(page: Page) -> Page:
    objects = [each._replace(key=unquote_plus(each.key)) for each in page.objects]
    return Page(objects, [unquote_plus(each) for each in page.folders], page.more)


def page_of_boto3(answer: dict[str, Any], where: str) -> Page:
    """A page from boto3's answer, which is almost empty for many an answer that is no listing. Raises StoreUnreachable."""
    if "IsTruncated" not in answer:
        raise StoreUnreachable("the answer is no listing", where=where, hint=PROXIES)
    objects = [
        ListedObject(each["Key"], each["Size"], plain_etag(each.get("ETag")), _seconds(each))
        for each in answer.get("Contents") or []
    ]
    folders = [each["Prefix"] for each in answer.get("CommonPrefixes") or []]
    if negative := next((each for each in objects if each.size < 0), None):
        raise StoreUnreachable(
            f"{negative.key!r} is listed with {negative.size} bytes", where=where, hint=PROXIES
        )
    return Page(objects, folders, bool(answer["IsTruncated"]))


def _seconds(entry: dict[str, Any]) -> float:
    stamp = entry.get("LastModified")
    return float(stamp.timestamp()) if stamp else 0.0
