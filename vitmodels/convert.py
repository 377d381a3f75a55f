"""Weights from and to other frameworks.

Read: safetensors and PyTorch files in timm's layout (ViT, TNT) or in that of the TNT authors, the `.npz`
files of the original ViT, and our own checkpoints. Written: safetensors in timm's layout.

    python -m vitmodels.convert SOURCE DEST.safetensors --arch vit_base_patch16_224 --num-classes 1000
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vitmodels.archs import ARCHS, resolve_arch
from vitmodels.nets.layouts import convert
from vitmodels.nets.weightfiles import read_weights, write_weights


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    from vitmodels.program import finish, say

    parser = argparse.ArgumentParser(
        prog="python -m vitmodels.convert", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("source", type=Path, help="a .safetensors, .npz, .pth or .ckpt file")
    parser.add_argument("dest", type=Path, help="the .safetensors file to write")
    parser.add_argument("--arch", required=True, help="architecture of the weights")
    parser.add_argument("--num-classes", type=int, default=1000, help="classes; another head is left out")
    parser.add_argument("--image-size", type=int, help="positions are interpolated to this size")
    args = parser.parse_args(argv)

    def run() -> int:
        config = ARCHS[resolve_arch(args.arch)].resized(args.image_size)
        converted = convert(read_weights(args.source), config, args.num_classes)
        write_weights(converted.weights, args.dest)
        for note in converted.notes:
            say(note)
        say(f"wrote {args.dest}: {len(converted.weights)} arrays")
        return 0

    return finish(run)


if __name__ == "__main__":
    sys.exit(main())
