"""`launcher prune`: remove what is no longer needed on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from launcher.cli.common import out, out_json, say
from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.runs.prune import Item, Kind

HELP = """Free disk space on this machine: remove work folders of ended runs whose results are all in the store, leftovers
of rehearsals, and with --data staged data sets. Lists everything and asks first. Never changes a store.

The disk is compared with the run's manifest and with the store itself. A folder with anything that the store lacks stays, and
what that is gets named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        default="7d",
        metavar="TIME",
        help="only what ended or was last used longer ago than this (7d)",
    )
    parser.add_argument(
        "--data", action="store_true", help="also staged data sets, unless a run is active on this machine"
    )
    parser.add_argument(
        "--cache-dir", metavar="DIR", help="folder of the staged data sets; default: $LAUNCHER_HOME/cache"
    )
    parser.add_argument(
        "--index", action="store_true", help="also entries of the list of runs: `status` no longer shows them"
    )
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="also work folders of failed runs whose results are not all in the store; they are lost then",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.add_argument("--json", action="store_true", help="print JSON; needs --yes or --dry-run")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.runs.index import Index
    from launcher.runs.prune import Kept, find_items, remove
    from launcher.units import parse_duration, show_bytes

    if args.json and not (args.yes or args.dry_run):
        raise UsageError("--json does not ask, so it needs --yes or --dry-run", hint="add one of them")
    try:
        older_than_s = parse_duration(args.older_than) if args.older_than != "0" else 0
    except ValueError as error:
        raise UsageError(f"{error}, found '{args.older_than}'", where="--older-than") from error
    kept: list[Kept] = []
    items = find_items(
        Index(),
        older_than_s=older_than_s,
        kinds=_kinds(args),
        unsafe=args.unsafe,
        cache_dir=Path(args.cache_dir) if args.cache_dir else None,
        on_kept=kept.append,
    )
    total = sum(item.bytes for item in items)
    if not args.json:
        out(_table(items) if items else f"nothing to remove that is older than {args.older_than}")
        for each in kept:
            say(f"kept {each.run_id}: {each.why}")
    agreed = bool(items) and not args.dry_run and (args.yes or _asked(f"remove these, {show_bytes(total)}?"))
    remaining = [item for item in items if not remove(item)] if agreed else []
    for item in remaining:
        say(f"{item.kind} {item.name} was not removed: it is in use or belongs to somebody else")
    freed = total - sum(item.bytes for item in remaining) if agreed else 0
    if args.json:
        removed = [_json(item, agreed and item not in remaining) for item in items]
        out_json({"items": removed, "kept": [asdict(each) for each in kept], "freed_bytes": freed})
    elif agreed:
        out(f"freed {show_bytes(freed)}")
    elif items:
        say("nothing was removed")
    return 1 if remaining else 0


def _kinds(args: argparse.Namespace) -> list[Kind]:
    kinds: list[Kind] = ["work folder", "rehearsal"]
    if args.data:
        kinds.append("data set")
    if args.index:
        kinds.append("index entry")
    return kinds


def _asked(question: str) -> bool:
    """Whether the user agrees; False without a terminal, where nobody can answer."""
    if not sys.stdin.isatty():
        say("stdin is no terminal, so nobody can answer; --yes removes without asking")
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _table(items: Sequence[Item]) -> str:
    from launcher.cli.style import Column, coloured, table, width_of
    from launcher.units import show_bytes

    columns = (
        Column("WHAT"),
        Column("NAME"),
        Column("SIZE", right=True),
        Column("WHY", rank=1, flexible=True, least=20),
    )
    rows = [[item.kind, item.name, show_bytes(item.bytes) if item.bytes else "", item.why] for item in items]
    return table(columns, rows, width=width_of(), colour=coloured())


def _json(item: Item, removed: bool) -> dict[str, object]:
    return {
        "kind": item.kind,
        "name": item.name,
        "path": str(item.path),
        "bytes": item.bytes,
        "why": item.why,
        "removed": removed,
    }
