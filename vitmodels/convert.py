"""Weights from and to other frameworks.

Read: safetensors (one file, or several by their index), PyTorch's files and MindSpore's `.ckpt` under the names of timm (ViT, TNT),
the TNT authors, torchvision, HuggingFace (ViT, DeiT), MindCV or MindSpore's model zoo, the `.npz` files of the original ViT, and our own checkpoints.
Averaged weights are used where there are some. PyTorch is not needed, and nothing in a file is run.
Written: timm's layout in the format of the suffix, .safetensors, .npz or .ckpt.

    python -m vitmodels.convert SOURCE DEST.safetensors --arch vit_base_patch16_224 --num-classes 1000
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vitmodels.program import end, finish, say


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vitmodels.convert", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "source", help="a .safetensors, .npz, .pth or .ckpt file, or a run or checkpoint folder"
    )
    parser.add_argument("dest", type=Path, help="the .safetensors, .npz or .ckpt file to write")
    parser.add_argument("--arch", help="architecture of the weights (default: by their sizes)")
    parser.add_argument(
        "--num-classes", type=int, help="another head is left out (default: the weights' own)"
    )
    parser.add_argument("--image-size", type=int, help="positions are interpolated to this size")
    parser.add_argument(
        "--parameters", choices=("ema", "raw"), help="default: ema where there are averaged weights, else raw"
    )
    parser.add_argument(
        "--allow-older", action="store_true", help="use an older checkpoint when the newest is damaged"
    )
    args = parser.parse_args(argv)
    return finish(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from vitmodels.archs import ARCHS, resolve_arch
    from vitmodels.nets.layouts import convert, origin_of
    from vitmodels.nets.weightfiles import check_writable_name, write_weights
    from vitmodels.training.weightsource import find_source

    check_writable_name(args.dest)
    arch = resolve_arch(args.arch) if args.arch else None
    source = find_source(args.source, None, parameters=args.parameters, allow_older=args.allow_older)
    for one in source.skipped:
        sys.stderr.write(f"warning: {one}\n")
    origin = origin_of(source.weights) if not (arch and args.num_classes) else None
    arch = arch or (origin.arch if origin else "")
    classes = args.num_classes or (origin.num_classes if origin else 0)
    size = args.image_size or (origin.image_size if origin else None)
    converted = convert(source.weights, ARCHS[arch].resized(size), classes)
    about = source.classes.as_dict()
    write_weights(converted.weights, args.dest, about)
    if source.classes.names and args.dest.suffix != ".safetensors":
        say(
            f"the names of the {len(source.classes.names)} classes are left out: only .safetensors holds them"
        )
    for note in converted.notes:
        say(note)
    kind = f", {source.parameters} parameters" if source.parameters else ""
    say(f"wrote {args.dest}: {len(converted.weights)} arrays of {arch}{kind}")
    return 0


if __name__ == "__main__":
    end(main())
