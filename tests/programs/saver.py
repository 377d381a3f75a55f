"""A plain training script, as people have them: it saves ./ckpt/net-EPOCH_1.ckpt each epoch and knows nothing of the launcher.

FAIL_AT=epoch    attempt 1 ends with exit code 1 after it saved this epoch
CUT=1            and leaves a file of one more epoch behind, cut off, as a kill while saving does
PACE=seconds     between two epochs
HOLD=epoch       attempts 1 and 2 never begin this epoch: they wait until somebody ends them
SHARDED=1        each rank saves below ./ckpt/rank_N, in place of rank 0 for all, and fails once all have saved
"""

import argparse
import json
import os
import sys
import time
import zipfile
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--resume", default="")
parser.add_argument("--epochs", type=int, default=4)
args = parser.parse_args()

rank = int(os.environ["RANK"])
sharded = bool(os.environ.get("SHARDED"))
begun = 0
if args.resume:
    with zipfile.ZipFile(args.resume) as archive:
        state = json.loads(archive.read("state"))
    begun = state["epoch"]
    assert state["rank"] == (rank if sharded else 0)
print(f"rank {rank} starts after epoch {begun}, from {args.resume or 'nothing'}", flush=True)
folder = Path("ckpt", f"rank_{rank}") if sharded else Path("ckpt")
folder.mkdir(parents=True, exist_ok=True)
for epoch in range(begun + 1, args.epochs + 1):
    time.sleep(float(os.environ.get("PACE", "0")))
    while os.environ.get("HOLD") == str(epoch) and os.environ["LAUNCHER_ATTEMPT"] in ("1", "2"):
        time.sleep(0.05)
    if rank == 0 or sharded:
        target = folder / f"net-{epoch}_1.ckpt"
        with zipfile.ZipFile(f"{target}.tmp", "w") as archive:
            archive.writestr("state", json.dumps({"epoch": epoch, "rank": rank}))
        Path(f"{target}.tmp").rename(target)
        if os.environ.get("FAIL_AT") == str(epoch) and os.environ["LAUNCHER_ATTEMPT"] == "1":
            while sharded and not all(
                Path(f"../rank-{other}/ckpt/rank_{other}/{target.name}").exists()
                for other in range(int(os.environ["WORLD_SIZE"]))
            ):
                time.sleep(0.02)  # until the others have saved it, too
            if os.environ.get("CUT"):
                (folder / f"net-{epoch + 1}_1.ckpt").write_bytes(target.read_bytes()[:50])
            sys.exit(1)
