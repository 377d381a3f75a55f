"""`launcher ls`: list a folder of a store."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from launcher.cli.common import add_store, opened, out, out_json, say

HELP = """List a folder of a store or of this machine: each name with its number of files and bytes.

The sum of a folder needs a listing of everything in it: one request per thousand objects."""


@dataclass
class _Entry:
    """A name in the folder. A folder's name ends in '/'."""

    name: str
    files: int = 0
    bytes: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="path, s3:// or obs:// address")
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="print every object, in the order of the listing"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    from launcher.errors import NotFound
    from launcher.units import show_bytes

    store = opened(args, args.url)
    entries: dict[str, _Entry] = {}
    files = size = 0
    for info in store.list():
        files, size = files + 1, size + info.size
        if args.recursive and not args.json:
            out(f"{info.size:>15,}  {_shown(info.key)}")
            continue
        head, slash, _ = info.key.partition("/")
        name = info.key if args.recursive else head + slash
        entry = entries.setdefault(name, _Entry(name))
        entry.files, entry.bytes = entry.files + 1, entry.bytes + info.size
    if not files:
        raise NotFound("nothing is there", where=store.url, hint="check the address and the prefix")
    if args.json:
        out_json([{"name": each.name, "files": each.files, "bytes": each.bytes} for each in entries.values()])
        return 0
    for each in entries.values():
        count = f"{each.files:,} files" if each.name.endswith("/") else ""
        out(f"{show_bytes(each.bytes):>10}  {count:>15}  {_shown(each.name)}")
    say(f"{files:,} files, {show_bytes(size)}")
    return 0


def _shown(name: str) -> str:
    """A name keeps no tabulator, either: columns would shift."""
    from launcher.printable import printable

    return printable(name).replace("\t", r"\x09")
