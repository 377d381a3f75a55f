"""`launcher pack`: pack a data set into tar shards, or verify one."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from launcher.cli.common import Line, out, out_json, say
from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.dataset.pack import PackProgress
    from launcher.dataset.shards import Packed

HELP = """Pack a data set of class folders into tar shards, which stage many times faster than single files.

SRC and DST are folders, s3:// or obs:// addresses. The same files give the same shards, byte for byte. When packing is
interrupted, type the command again: it continues. packed.json is written last; without it a data set is not complete.
--verify reads every byte of a packed data set and compares it with its sha256."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="data set; with --verify, a packed one")
    parser.add_argument(
        "dest", metavar="DST", nargs="?", help="empty folder or address for the packed data set"
    )
    parser.add_argument("--verify", action="store_true", help="check the packed data set SRC")
    parser.add_argument(
        "--shard-size", default="1GiB", metavar="SIZE", help="approximate size of each shard (1GiB)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of files in the shards (0)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="shards packed at the same time; default: one per core, up to 8"
    )
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        help="folder with space for one shard per job; default: $LAUNCHER_HOME/pack",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"expected 1 or more, found {args.jobs}", where="--jobs")
    return _verify(args) if args.verify else _pack(args)


def _pack(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.dataset.pack import pack
    from launcher.runfolder import paths
    from launcher.storage.address import StoreAddress
    from launcher.storage.registry import absolute_url
    from launcher.units import parse_size, show_bytes, show_duration

    if args.dest is None:
        raise UsageError("no DST", hint="launcher pack SRC DST, or launcher pack --verify SRC")
    try:
        shard_bytes = parse_size(args.shard_size)
    except ValueError as error:
        raise UsageError(f"{error}, found '{args.shard_size}'", where="--shard-size") from error
    if shard_bytes < 1:
        raise UsageError(f"expected 1 byte or more, found '{args.shard_size}'", where="--shard-size")
    line = Line(shown=sys.stderr.isatty() and not args.json)
    try:
        report = pack(
            StoreAddress(url=absolute_url(args.source, Path.cwd())),
            StoreAddress(url=absolute_url(args.dest, Path.cwd())),
            Path(args.work_dir) if args.work_dir else paths.home() / "pack",
            shard_bytes=shard_bytes,
            seed=args.seed,
            jobs=args.jobs,
            progress=lambda progress: line.show(packing_text(progress)),
        )
    finally:
        line.clear()
    if args.json:
        out_json({**_facts(report.packed), "kept_shards": report.kept, "seconds": round(report.seconds, 3)})
        return 0
    reused = f", {report.kept} of them packed before" if report.kept else ""
    out(
        f"packed {report.packed.files} files, {show_bytes(report.packed.payload)}, into "
        f"{len(report.packed.shards)} shards{reused} in {show_duration(report.seconds)}"
    )
    say(f"use it with data.url: {args.dest}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.dataset.verify import verify_packed
    from launcher.storage.address import StoreAddress
    from launcher.storage.registry import absolute_url
    from launcher.units import show_bytes

    if args.dest is not None:
        raise UsageError("--verify takes one address, that of the packed data set", where=args.dest)
    store = StoreAddress(url=absolute_url(args.source, Path.cwd())).open()
    line = Line(shown=sys.stderr.isatty() and not args.json)
    try:
        packed = verify_packed(
            store,
            jobs=args.jobs or 4,
            progress=lambda done, total: line.show(f"{show_bytes(done)} of {show_bytes(total)} read"),
        )
    finally:
        line.clear()
    if args.json:
        out_json(_facts(packed))
    else:
        out(
            f"{packed.files} files, {show_bytes(packed.payload)}, in {len(packed.shards)} shards: every byte is right"
        )
    return 0


def _facts(packed: Packed) -> dict[str, object]:
    return {
        "files": packed.files,
        "bytes": packed.payload,
        "shards": len(packed.shards),
        "images": {split or "data": sum(counts.values()) for split, counts in packed.classes.items()},
        "digest": packed.digest,
    }


def packing_text(progress: PackProgress) -> str:
    """`3 of 140 shards, 2.9 GB of 138 GB`."""
    from launcher.units import show_bytes

    return (
        f"{progress.shards_done} of {progress.shards_total} shards, "
        f"{show_bytes(progress.bytes_done)} of {show_bytes(progress.bytes_total)}"
    )
