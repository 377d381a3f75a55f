"""`launcher cp`: copy files between this machine and a store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from launcher.cli.common import Line, add_store, address_of, opened, out_json, say
from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.storage import ObjectStore
    from launcher.storage.copy import CopyReport

HELP = """Copy a file or a folder between this machine and a store, verified on the way.

SRC and DST are paths, s3:// or obs:// addresses; one of them is on this machine. The contents of a folder go into DST. A
file that DST has with the same content is kept, so an interrupted copy continues when the command is typed again. A
different file of the same name is an error without --force."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="file, folder, object, or prefix of a bucket")
    parser.add_argument("dest", metavar="DST", help="the new name, or a folder: with a trailing '/'")
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    from launcher.units import show_bytes

    line = Line(shown=sys.stderr.isatty() and not args.json)
    try:
        report = _copy(args, line)
    finally:
        line.clear()
    if args.json:
        out_json({"files": report.files, "bytes": report.bytes, "reused": report.reused})
    else:
        reused = f", {report.reused} of them copied before" if report.reused else ""
        say(f"{report.files} files{reused}, {show_bytes(report.bytes)}, each verified, in {args.dest}")
    return 0


def _copy(args: argparse.Namespace, line: Line) -> CopyReport:
    from launcher.storage.copy import fetch_tree, send_one, send_tree

    def show_progress(files: int, size: int) -> None:
        from launcher.units import show_bytes

        line.show(f"{files} files, {show_bytes(size)}")

    source_path, dest_path = _local(args.source), _local(args.dest)
    if source_path is None and dest_path is None:
        raise UsageError(
            "both are in a store",
            where=f"{args.source} {args.dest}",
            hint="copy to this machine first, then to DST",
        )
    if source_path is not None and not source_path.exists():
        raise UsageError("no such file or folder", where=args.source)
    if dest_path is not None:
        parent, name = _parent(args)
        if parent is not None and parent.head(name) is not None:
            return _one(parent, name, dest_path, args)
        return fetch_tree(opened(args, args.source), dest_path, force=args.force, on_copied=show_progress)
    assert source_path is not None
    folder = args.dest if args.dest.endswith("/") or source_path.is_dir() else _split(args.dest)[0]
    address_of(args, folder).refuse_objects_above()
    if source_path.is_file():
        base, key = _split(args.dest)
        return send_one(source_path, opened(args, base), key or source_path.name, force=args.force)
    source = opened(args, str(source_path))
    return send_tree(source, source_path, opened(args, args.dest), force=args.force, on_copied=show_progress)


def _one(store: ObjectStore, name: str, to: Path, args: argparse.Namespace) -> CopyReport:
    from launcher.storage.copy import fetch_one

    target = to / name if args.dest.endswith("/") or to.is_dir() else to
    return fetch_one(store, name, target, force=args.force)


def _parent(args: argparse.Namespace) -> tuple[ObjectStore | None, str]:
    """The store of SRC's folder and the last part of its name; (None, "") when SRC is a bucket or ends in '/'."""
    base, name = _split(args.source)
    return (opened(args, base), name) if name else (None, "")


def _split(text: str) -> tuple[str, str]:
    """A path or URL as folder and name; the name is empty for a bucket and for what ends in '/'."""
    scheme, mark, rest = text.rpartition("://")
    rest = rest if mark else str(Path(rest).expanduser().absolute()) + "/" * rest.endswith("/")
    base, slash, name = rest.rpartition("/")
    if not slash or not name:
        return text.rstrip("/") or "/", ""
    return f"{scheme}{mark}{base}" or "/", unquote(name) if scheme == "file" else name


def _local(text: str) -> Path | None:
    """The path, for what is on this machine."""
    from launcher.storage.registry import parse_url

    location = parse_url(text)
    return Path(location.path) if location.scheme == "file" else None
