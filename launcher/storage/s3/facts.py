"""Facts about an object from an answer of a store: its size, its version, and which digest its bytes must have.

An ETag is the MD5 of the bytes only where nothing speaks against it: its form, headers of encryption, a weak ETag. Each upload
of ours therefore carries its sha256 as metadata of the object, and each download is compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launcher.errors import StoreError, StoreUnreachable
from launcher.storage.base import ObjectInfo
from launcher.storage.s3.kinds import PROXIES

SHA256_NAME = "sha256"
"""The metadata of an object that hold the sha256 of its bytes: the header is x-amz-meta-sha256."""
_HEX_ETAG = re.compile(r"[0-9A-Fa-f]{32}(-[0-9]+)?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_VENDORS_HEADER = re.compile(r"x-[a-z0-9]+-(?!meta-)(.*)")
_ENCRYPTION = (
    *("server-side-encryption", "customer-algorithm", "kms-key-id"),
    *("encryption-algorithm", "kms-key-name"),  # of Google
)
_MD5_WITH_AES256 = ("amazons3", "minio")


def plain_etag(text: str | None) -> str:
    """An ETag without quotes and without the mark of a weak one. Hexadecimal digits become small letters."""
    etag = (text or "").strip().removeprefix("W/").strip().strip('"')
    return etag.lower() if _HEX_ETAG.fullmatch(etag) else etag


def is_weak(text: str | None) -> bool:
    """Whether the ETag is the same for bytes that only mean the same; proxies that compress make such ones."""
    return (text or "").strip().startswith("W/")


def stored_sha256(metadata: Mapping[Any, Any]) -> str:
    """The sha256 that was stored with an object, or ''. Names of metadata differ in case between stores."""
    for name, value in metadata.items():
        if str(name).lower() == SHA256_NAME and _SHA256.fullmatch(str(value)):
            return str(value).lower()
    return ""


def info_of_answer(key: str, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    """The facts in an answer of boto3 to a GET or HEAD."""
    etag, stamp = answer.get("ETag"), answer.get("LastModified")
    return ObjectInfo(
        key,
        size,
        plain_etag(etag),
        stamp.timestamp() if stamp else 0.0,
        sha256=stored_sha256(answer.get("Metadata") or {}),
        opaque=is_weak(etag) or _is_opaque(answer),
    )


def status_of(answer: Mapping[str, Any]) -> int:
    """The status of an answer of boto3."""
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def check_answer(answer: Mapping[str, Any], where: str) -> None:
    """Raises StoreUnreachable when an answer to a GET or HEAD is not a store's, as a page of a load balancer: a store tells an ETag or a time."""
    if not answer.get("ETag") and not answer.get("LastModified"):
        raise foreign_answer(where)


def foreign_answer(where: str) -> StoreUnreachable:
    """The error for an answer that something else than the store gave: the request has had no effect."""
    return StoreUnreachable("the answer is not that of a store", where=where, hint=PROXIES)


def broken(where: str, size: int, wanted: int) -> StoreUnreachable:
    """The error for a body that ended early."""
    return StoreUnreachable(f"the connection ended after {size} of {wanted} bytes", where=where)


def info_of_obstore(key: str, meta: Mapping[str, Any], attributes: Mapping[Any, Any]) -> ObjectInfo:
    """The facts in an answer of obstore, which hides the headers of encryption. Raises StoreUnreachable as `check_answer` does."""
    etag, mtime = meta["e_tag"], meta["last_modified"].timestamp()
    if not etag and not mtime:
        raise foreign_answer(key)
    return ObjectInfo(
        key,
        meta["size"],
        plain_etag(etag),
        mtime,
        sha256=stored_sha256(attributes),
        opaque=is_weak(etag),
    )


def time_of_answer(answer: Mapping[str, Any], where: str) -> float:
    """When the store answered, by its own clock. Raises StoreError for an answer without a Date."""
    from email.utils import parsedate_to_datetime

    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError) as error:
        raise StoreError(f"the store's answer has no time (Date: {date!r})", where=where) from error


def _is_opaque(answer: Mapping[str, Any]) -> bool:
    """Whether a header says that the ETag is something else than the MD5 of the object's bytes.

    So it is for an object that grew by appending, whose ETag is that of its last piece or the vendor's own, and for one that is
    encrypted. With AES256 some stores keep the MD5 and others, such as OBS, don't.
    """
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    keeps_md5 = str(headers.get("server", "")).lower() in _MD5_WITH_AES256
    for name, value in headers.items():
        found = _VENDORS_HEADER.fullmatch(name.lower())
        kind, text = (found[1], str(value).lower()) if found else ("", "")
        if kind == "object-type" and text != "normal":
            return True
        if kind.endswith(_ENCRYPTION) and not (keeps_md5 and text == "aes256"):
            return True
    return False
