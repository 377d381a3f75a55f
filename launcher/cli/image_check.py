"""`launcher image-check`: what this image lacks."""

from __future__ import annotations

import argparse

from launcher.cli.common import out

HELP = """Show what this Python lacks for launcher and for training, with one line of pip. Exit code 2 when something lacks that nothing
runs without. In an image without launcher copy launcher/imagecheck.py there and run it: it is one file and needs no package."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base", action="store_true", help="only what launcher itself needs, for a program of your own"
    )


def run(args: argparse.Namespace) -> int:
    from launcher.imagecheck import BASE, TRAIN, report

    good, lines = report(BASE if args.base else (*BASE, *TRAIN), compiler=not args.base)
    out("\n".join(lines) or "nothing is lacking")
    return 0 if good else 2
