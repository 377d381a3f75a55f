"""`launcher pack`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from launcher.cli.common import out, out_json, say
from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.dataset.pack import PackProgress
    from launcher.dataset.shards import Packed

HELP = """Pack a data set of class folders into tar shards, which stage many times faster than single files.

SRC and DST are folders, s3:// or obs:// addresses. The same files give the same shards, byte for byte. A packing that
was killed goes on where it was when the command is given again; packed.json, written last, makes it complete.
With --verify every byte of a packed data set is read and compared with its sha256."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="data set; with --verify, a packed one")
    parser.add_argument("dest", metavar="DST", nargs="?", help="empty folder or address for the packed one")
    parser.add_argument("--verify", action="store_true", help="check the packed data set SRC")
    parser.add_argument(
        "--shard-size", default="1GiB", metavar="SIZE", help="about so large is each shard (1GiB)"
    )
    parser.add_argument("--seed", type=int, default=0, help="for the order of files in the shards (0)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="shards at a time; default: one per core, up to 8"
    )
    parser.add_argument(
        "--work-dir", metavar="DIR", help="room for one shard per job; default: $LAUNCHER_HOME/pack"
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
    from launcher.storage.address import StoreAddress, absolute_url
    from launcher.units import parse_size, show_bytes, show_duration

    if args.dest is None:
        raise UsageError("no DST", hint="launcher pack SRC DST, or launcher pack --verify SRC")
    try:
        shard_bytes = parse_size(args.shard_size)
    except ValueError as error:
        raise UsageError(f"{error}, found '{args.shard_size}'", where="--shard-size") from error
    if shard_bytes < 1:
        raise UsageError(f"expected 1 byte or more, found '{args.shard_size}'", where="--shard-size")
    line = _Line(shown=sys.stderr.isatty() and not args.json)
    try:
        report = pack(
            StoreAddress(url=absolute_url(args.source, Path.cwd())),
            StoreAddress(url=absolute_url(args.dest, Path.cwd())),
            Path(args.work_dir) if args.work_dir else paths.home() / "pack",
            shard_bytes=shard_bytes,
            seed=args.seed,
            jobs=args.jobs,
            progress=line.packing,
        )
    finally:
        line.clear()
    if args.json:
        out_json({**_facts(report.packed), "kept_shards": report.kept, "seconds": round(report.seconds, 3)})
        return 0
    kept = f", {report.kept} of them there already" if report.kept else ""
    out(
        f"packed {report.packed.files} files, {show_bytes(report.packed.payload)}, into "
        f"{len(report.packed.shards)} shards{kept} in {show_duration(report.seconds)}"
    )
    say(f"use it with data.url: {args.dest}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.dataset.verify import verify_packed
    from launcher.storage.address import StoreAddress, absolute_url
    from launcher.units import show_bytes

    if args.dest is not None:
        raise UsageError("--verify takes one address, that of the packed data set", where=args.dest)
    store = StoreAddress(url=absolute_url(args.source, Path.cwd())).open()
    line = _Line(shown=sys.stderr.isatty() and not args.json)
    try:
        packed = verify_packed(store, jobs=args.jobs or 4, progress=line.verifying)
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


class _Line:
    """One line on a terminal that tells how far it is."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def packing(self, progress: PackProgress) -> None:
        from launcher.units import show_bytes

        self._show(
            f"{progress.shards_done} of {progress.shards_total} shards, "
            f"{show_bytes(progress.bytes_done)} of {show_bytes(progress.bytes_total)}"
        )

    def verifying(self, done: int, total: int) -> None:
        from launcher.units import show_bytes

        self._show(f"{show_bytes(done)} of {show_bytes(total)} read")

    def _show(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
