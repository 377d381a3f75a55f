"""Unpack a rank table that its writer compressed: gzip, or gzip as base64 text, where a ConfigMap is too small for JSON."""

from __future__ import annotations

import base64
import binascii
import zlib

from launcher.errors import UsageError

_GZIP = b"\x1f\x8b"
_GZIP_AS_BASE64 = b"H4sI"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def unpacked(data: bytes, limit: int, *, where: str) -> bytes:
    """`data` itself, or what it unpacks to. Raises UsageError when it is damaged or larger than `limit`."""
    start = data[:64].lstrip()
    if start.startswith(_GZIP_AS_BASE64):
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error as error:
            raise _damaged(f"no base64: {error}", where) from None
    elif not start.startswith(_GZIP):
        return data
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        text = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise _damaged(f"no gzip: {error}", where) from None
    if len(text) > limit:
        raise UsageError(f"unpacks to more than {limit} bytes", where=where)
    if not stream.eof:
        raise _damaged("it ends early", where)
    return text


def _damaged(reason: str, where: str) -> UsageError:
    hint = "Is its writer still at work? Otherwise take the platform's file again."
    return UsageError(f"a compressed rank table, but {reason}", where=where, hint=hint)
