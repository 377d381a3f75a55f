"""Text in exported files: MINDIR and ONNX keep pairs of key and value in the same field of their protobuf message.

Fields may be appended to a message, so the net itself is not read to write them, and skipped to read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

SUFFIXES = (".mindir", ".onnx")
_PAIR, _KEY, _VALUE = 14 << 3 | 2, 1 << 3 | 2, 2 << 3 | 2  # user_info of MINDIR, metadata_props of ONNX
_SKIP = {1: 8, 5: 4}  # bytes of a value by its kind on the wire


def add_metadata(path: Path, pairs: Mapping[str, str]) -> None:
    """Append pairs to an exported file."""
    with path.open("ab") as file:
        for key, value in pairs.items():
            file.write(_field(_PAIR, _field(_KEY, key.encode()) + _field(_VALUE, value.encode())))


def read_metadata(path: Path) -> dict[str, str]:
    """The pairs of an exported file; none in one that is damaged or of another format."""
    if path.suffix not in SUFFIXES:
        return {}
    try:
        with path.open("rb") as file:
            return dict(_pair(data) for data in _fields(file, path.stat().st_size))
    except (OSError, ValueError, KeyError):
        return {}


def _field(tag: int, data: bytes) -> bytes:
    return _varint(tag) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _read_varint(file: BinaryIO) -> int:
    number = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("the message is cut off")
        number |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return number


def _fields(file: BinaryIO, size: int) -> list[bytes]:
    """The content of every pair at the top of a message."""
    found = []
    while file.tell() < size:
        tag = _read_varint(file)
        if tag & 7 == 0:
            _read_varint(file)
            continue
        length = _SKIP[tag & 7] if tag & 7 in _SKIP else _read_varint(file)
        if tag == _PAIR:
            found.append(file.read(length))
        else:
            file.seek(length, 1)
    return found


def _pair(data: bytes) -> tuple[str, str]:
    import io

    file = io.BytesIO(data)
    parts = {}
    while file.tell() < len(data):
        tag = _read_varint(file)
        parts[tag] = file.read(_read_varint(file)).decode()
    return parts[_KEY], parts.get(_VALUE, "")
