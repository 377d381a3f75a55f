"""The command line of MindCV's train.py: a settings file that its options override, checkpoints in --ckpt_save_dir."""

import argparse
import json
import os
from pathlib import Path

import yaml

parser = argparse.ArgumentParser()
parser.add_argument("-c", "--config")
parser.add_argument("--distribute", type=lambda text: text == "True", default=False)
parser.add_argument("--data_dir", required=True)
parser.add_argument("--ckpt_path", default="")
parser.add_argument("--ckpt_save_dir", default="./ckpt")
parser.add_argument("--epoch_size", type=int)
args = parser.parse_args()
settings = yaml.safe_load(Path(args.config).read_text())
epochs = args.epoch_size or settings["epoch_size"]
assert args.distribute == (int(os.environ["RANK_SIZE"]) > 1)
images = len(list(Path(args.data_dir).rglob("*.jpg")))
begun = json.loads(Path(args.ckpt_path).read_text())["epoch"] if args.ckpt_path else 0
for epoch in range(begun + 1, epochs + 1):
    print(
        f"Epoch: [{epoch}/{epochs}], batch: [{images}/{images}], loss: {1 / epoch:.6f}, lr: 0.001000, time: 0.5s",
        flush=True,
    )
    if os.environ["RANK_ID"] == "0":
        Path(args.ckpt_save_dir).mkdir(exist_ok=True)
        target = Path(args.ckpt_save_dir) / f"{settings['model']}-{epoch}_1.ckpt"
        target.with_suffix(".tmp").write_text(json.dumps({"epoch": epoch}))
        target.with_suffix(".tmp").rename(target)
        if epoch == 2 and not begun:
            raise SystemExit(1)
