"""CPU of staging from shards beside `tar x` of the same data, in one run.

    python benchmarks/packing.py [--files 5000] [--rounds 5] [--s3] [--folder DIR]

Packs files of 110 KB in class folders, then unpacks them several times in turn by `tar x`, by the launcher's staging with
verification, and by Python's tarfile. CPU is user and system time of the process and its children; for the launcher that of
staging alone, as the node program that does it runs anyway, and in brackets with the start of Python. With --s3 the shards come from `rclone serve s3`, beside `rclone cat | tar x`.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGE = """
import sys, time
from pathlib import Path
from launcher.dataset.stage import stage_data
from launcher.storage import open_store
begin = time.process_time()
stage_data(open_store(sys.argv[1]), Path(sys.argv[2]))
print(time.process_time() - begin)
"""
TARFILE = """
import sys, tarfile
for name in sys.argv[2:]:
    with tarfile.open(name) as tar:
        tar.extractall(sys.argv[1], filter="data")
"""
Way = Callable[[Path], float | None]


def make_files(folder: Path, count: int) -> int:
    """Random files in 100 classes; returns their bytes."""
    total = 0
    for number in range(count):
        path = folder / "train" / f"class-{number % 100:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        total += path.write_bytes(os.urandom(80_000 + number * 7919 % 60_000))
    return total


def cpu_of(way: Way, folder: Path) -> tuple[float, float, float]:
    """CPU seconds, those of the whole process, and wall seconds of one unpacking into a new folder."""
    target = Path(tempfile.mkdtemp(dir=folder))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    own = way(target)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(target)
    process = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return process if own is None else own, process, wall


def local_ways(packed: Path) -> dict[str, Way]:
    """From a folder of this machine."""
    shards = [str(path) for path in sorted((packed / "shards").glob("*.tar"))]

    def tar(target: Path) -> None:
        for shard in shards:
            subprocess.run(["tar", "-xf", shard, "-C", str(target)], check=True)

    def tarfile(target: Path) -> None:
        subprocess.run([sys.executable, "-c", TARFILE, str(target), *shards], check=True)

    return {
        "tar x": tar,
        "launcher, from a folder": lambda target: stage(str(packed), target, dict(os.environ)),
        "Python's tarfile": tarfile,
    }


def stage(url: str, target: Path, env: dict[str, str]) -> float:
    """CPU seconds of the launcher's staging."""
    command = [sys.executable, "-c", STAGE, url, str(target)]
    return float(subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE).stdout)


@contextmanager
def s3_ways(packed: Path) -> Iterator[dict[str, Way]]:
    """From an S3 server on this machine."""
    sys.path.insert(0, str(ROOT))
    from tests.servers.process import program
    from tests.servers.s3 import rclone_server

    bucket = packed.parent
    with rclone_server(bucket.parent, etag_hash="") as server:
        env = {**os.environ, **server.env}
        remote = f":s3,provider=Other,endpoint='{server.endpoint}',env_auth=true:{bucket.name}/{packed.name}/shards/"
        rclone = [program("rclone"), "--config", "/dev/null", "cat"]

        def tar(target: Path) -> None:
            for shard in sorted((packed / "shards").glob("*.tar")):
                with subprocess.Popen(
                    [*rclone, remote + shard.name], env=env, stdout=subprocess.PIPE
                ) as source:
                    subprocess.run(["tar", "-xf", "-", "-C", str(target)], stdin=source.stdout, check=True)

        def launcher(target: Path) -> float:
            return stage(f"s3://{bucket.name}/{packed.name}", target, env)

        yield {"rclone cat | tar x": tar, "launcher, from S3": launcher}


def measure(ways: dict[str, Way], folder: Path, rounds: int) -> None:
    """Print a table; the first way is the measure."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(cpu_of(way, folder))
    first = next(iter(ways))
    for name, each in found.items():
        cpu, process, wall = (statistics.median(column) for column in zip(*each, strict=True))
        ratios = [mine[0] / other[0] for mine, other in zip(each, found[first], strict=True)]
        print(
            f"{name:<26} {cpu:6.2f} s CPU ({process:.2f})  {wall:6.2f} s wall  {statistics.median(ratios):5.2f} x {first}"
        )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--s3", action="store_true", help="from an S3 server, too")
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        size = make_files(folder / "tree", args.files)
        packed, before = folder / "bucket" / "packed", resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "launcher", "pack", str(folder / "tree"), str(packed)]
        command += ["--shard-size", "256MiB", "--work-dir", str(folder / "scratch")]
        begin = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True)
        wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        print(f"packed {args.files} files, {size / 1e6:.0f} MB: {cpu:.2f} s CPU, {wall:.2f} s wall")
        shutil.rmtree(folder / "tree")
        measure(local_ways(packed), folder, args.rounds)
        if args.s3:
            with s3_ways(packed) as ways:
                measure(ways, folder, args.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
