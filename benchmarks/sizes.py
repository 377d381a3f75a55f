"""Sizes that tests can't have: `python benchmarks/sizes.py [--keys 100000] [--gib 5.5] [--folder DIR]`.

Needs root and Ceph, and as much disk as the object has. Many keys in one flat folder are listed with each engine from
`rclone serve s3`. A sparse file beyond the 5 GiB that one PUT takes goes up in parts to radosgw, is looked at, and comes back;
its zeros cost no time on disk, its last bytes are random.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from launcher.disk import digest_file  # noqa: E402  # after the path
from launcher.storage import open_store  # noqa: E402
from tests.servers.radosgw import radosgw_server  # noqa: E402
from tests.servers.s3 import rclone_server  # noqa: E402
from tests.servers.stores import BUCKET, open_on  # noqa: E402

TAIL_BYTES = 1 << 20


def peak_mib() -> int:
    """Most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def list_many(keys: int, folder: Path) -> None:
    """Print how long a listing of one folder takes. Raises SystemExit for a wrong number or order."""
    data = folder / BUCKET / "flat"
    data.mkdir(parents=True)
    for number in range(keys):
        (data / f"{number:07}").touch()
    with rclone_server(folder) as server:
        for engine in ("auto", "boto3"):
            os.environ["LAUNCHER_S3_ENGINE"] = engine
            store = open_store(f"s3://{BUCKET}/flat", endpoint=server.endpoint, env=server.env)
            begun = time.perf_counter()
            found = [info.key for info in store.list()]
            seconds = time.perf_counter() - begun
            if found != [f"{number:07}" for number in range(keys)]:
                raise SystemExit(f"{engine}: {len(found)} keys listed, or out of order")
            print(f"{engine}: {keys:,} keys of one folder in {seconds:.1f} s, {peak_mib()} MiB at most")
    os.environ.pop("LAUNCHER_S3_ENGINE")


def there_and_back(size: int, folder: Path) -> None:
    """Print how long an object of `size` bytes takes. Raises SystemExit when it comes back as something else."""
    sent, got = folder / "sent", folder / "got"
    with sent.open("wb") as file:
        file.truncate(size - TAIL_BYTES)
        file.seek(size - TAIL_BYTES)
        file.write(os.urandom(TAIL_BYTES))
    with radosgw_server(disk_bytes=3 * size) as server:
        server.client().create_bucket(Bucket=BUCKET)
        store = open_on(server)
        begun = time.perf_counter()
        info = store.put_file("large", sent)
        print(f"{size / (1 << 30):.1f} GiB up in {time.perf_counter() - begun:.0f} s, ETag {info.etag}")
        begun = time.perf_counter()
        store.get_file("large", got, info)
        print(f"and down in {time.perf_counter() - begun:.0f} s, {peak_mib()} MiB at most")
    if digest_file(got) != digest_file(sent):
        raise SystemExit("what came back is not what was sent")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--gib", type=float, default=5.5)
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as work:
        if args.keys:
            list_many(args.keys, Path(work) / "s3")
        if args.gib:
            there_and_back(int(args.gib * (1 << 30)), Path(work))


if __name__ == "__main__":
    main()
