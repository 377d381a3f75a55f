"""The entries of a listing, read from its XML once: botocore's general way costs five times as much per object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree  # what botocore reads it with, too; the parser underneath is expat

EVENT = "before-parse.s3.ListObjects"


def read_contents(
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    timestamp: Callable[[Any], Any],
    **_: Any,
) -> None:
    """For `EVENT`: takes the entries out of the answer, and leaves the rest of it to botocore.

    An answer that is not understood is left as it is, so that botocore says what is wrong with it.
    """
    if response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314
        space = root.tag.removesuffix("ListBucketResult")
        key, size, etag, modified = (f"{space}{name}" for name in ("Key", "Size", "ETag", "LastModified"))
        contents = root.findall(f"{space}Contents")
        entries = [
            {
                "Key": node.findtext(key) or "",
                "Size": int(node.findtext(size, "")),
                "ETag": node.findtext(etag, ""),
                "LastModified": timestamp(node.findtext(modified)),
            }
            for node in contents
        ]
    except (ElementTree.ParseError, ValueError, TypeError):
        return
    if entries:
        tag = f"{space}Contents"
        root[:] = [node for node in root if node.tag != tag]
        response_dict["body"] = ElementTree.tostring(root)
        customized_response_dict["Contents"] = entries
