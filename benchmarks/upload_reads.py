"""CPU time of uploading one file of 1 GiB: its sha256 known from a manifest, or not.

    python benchmarks/upload_reads.py [--rounds 2] [--folder DIR]

"thrice" compares the file with its manifest, makes its sha256 for the store, and sends it, each with a read of its own; "once" does
all of that in one. Both send it in parts to `rclone serve s3`; each is a process of its own, whose start is not counted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.staging import environment, served  # noqa: E402  # after the path

UPLOAD = """
import sys, time
from pathlib import Path
from launcher.disk import digest_file
from launcher.storage import open_store
way, path, sha256 = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
store = open_store("s3://bucket/big")
store.head("x")
begun = time.process_time()
if way == "thrice":
    assert digest_file(path).sha256 == sha256
store.put_file("x", path, sha256=sha256 if way == "once" else None)
print(time.process_time() - begun)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    args = parser.parse_args()
    taken: dict[str, list[float]] = {"thrice": [], "once": []}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder, served(Path(folder)) as (server, _):
        big, block, digest = Path(folder) / "big", os.urandom(1 << 20), hashlib.sha256()
        with big.open("wb") as file:
            for _ in range(1024):
                file.write(block)
                digest.update(block)
        print(f"load {os.getloadavg()[0]:.1f}")
        for _ in range(args.rounds):
            for way, costs in taken.items():
                command = [sys.executable, "-c", UPLOAD, way, str(big), digest.hexdigest()]
                answer = subprocess.run(
                    command, cwd=ROOT, env=environment(server), check=True, capture_output=True, text=True
                )
                costs.append(float(answer.stdout))
    for way, costs in taken.items():
        print(f"read {way}: {statistics.median(costs):.2f} s of CPU, {[round(each, 2) for each in costs]}")


if __name__ == "__main__":
    main()
