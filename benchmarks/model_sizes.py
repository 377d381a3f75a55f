"""Our nets against timm's on CPU over nets, image sizes, batches and threads: one Markdown table, all ratios in one run.

    python benchmarks/model_sizes.py --torch-python VENV/bin/python                  # all of SIZES, on one core and on two
    python benchmarks/model_sizes.py --torch-python VENV/bin/python --batch 1 --threads 1

Interleaved rounds as in `benchmarks/models.py`: seconds are medians, ratios are of medians and, in brackets, of the best. CPU is that of the
best round; with one thread it means something on a busy machine too, with more it counts PyTorch's waiting. Memory is the
process's peak, and that less what it has after its imports. The exit code is 1 when something could not run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.models import Size, compare  # noqa: E402  # after the path

SIZES = (
    *(Size("vit_small_patch16_224", batch, 224) for batch in (1, 4, 8, 32)),
    *(Size("vit_small_patch16_224", batch, 384) for batch in (1, 8)),
    *(Size("tnt_s_patch16_224", batch, 224) for batch in (1, 4, 8)),
    *(Size("tnt_b_patch16_224", batch, 224) for batch in (1, 8)),
)
COLUMNS = (
    "net",
    "image",
    "batch",
    "threads",
    "forward, s: ours, timm",
    "timm over ours",
    "step, s: ours, timm",
    "timm over ours",
    "CPU of a step, timm over ours",
    "memory, GB: ours, timm",
    "ours over timm",
    "without imports",
)


def row(size: Size, found: dict[str, Any]) -> tuple[str, ...]:
    """The cells of COLUMNS for what `compare` found."""
    ours, timm = found["ours"], found["timm"]
    cells = [size.arch, str(size.side), str(size.batch), str(size.threads)]
    for what in ("forward", "step"):
        best = timm[f"{what}_best"] / ours[f"{what}_best"]
        cells += [f"{ours[what]:.3f}, {timm[what]:.3f}", f"{timm[what] / ours[what]:.2f} ({best:.2f})"]
    own = [one["peak_gb"] - one["imports_gb"] for one in (ours, timm)]
    return (
        *cells,
        f"{timm['step_cpu'] / ours['step_cpu']:.2f}",
        f"{ours['peak_gb']:.2f}, {timm['peak_gb']:.2f}",
        f"{ours['peak_gb'] / timm['peak_gb']:.2f}",
        f"{own[0] / own[1]:.2f}",
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    archs = sorted({size.arch for size in SIZES})
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has timm and torch")
    parser.add_argument("--arch", nargs="+", choices=archs, default=archs, help="only these nets")
    parser.add_argument("--batch", type=int, nargs="+", help="only these batches")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of two forwards and two steps each")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the table row by row; returns the exit code."""
    args = make_parser().parse_args(argv)
    code = 0
    for line in (COLUMNS, ("---",) * len(COLUMNS)):
        print(f"| {' | '.join(line)} |", flush=True)
    begin = time.monotonic()
    for threads in args.threads:
        for size in SIZES:
            if size.arch not in args.arch or (args.batch and size.batch not in args.batch):
                continue
            sized = size._replace(threads=threads)
            found, left_out = compare(sized, args.rounds, {"timm": args.torch_python}, ["ours", "timm"])
            for error in left_out:
                code = 1
                print(f"left out: {sized}: {error}", flush=True)
            if not left_out:
                print(f"| {' | '.join(row(sized, found))} |", flush=True)
    print(f"{time.monotonic() - begin:.0f} s, load {os.getloadavg()[0]:.1f} at the end")
    return code


if __name__ == "__main__":
    sys.exit(main())
