"""The machines of the fake ModelArts: each runs a job's command as real processes, in a throw-away root of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.fakes.modelarts_wire import Account
from tests.servers.process import dying_with_us
from tests.waiting import PATIENCE_S

GRACE_S = 20.0


def s3_client(account: Account) -> Any:
    import boto3
    from botocore.config import Config

    maker: Any = boto3.client
    return maker(
        "s3",
        endpoint_url=account.s3_endpoint,
        aws_access_key_id=account.s3_key,
        aws_secret_access_key=account.s3_secret,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def listing(s3: Any, path: str) -> dict[str, int]:
    """Sizes by key below `/bucket/folder/`."""
    bucket, _, prefix = path.strip("/").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {
        item["Key"].removeprefix(prefix): item["Size"] for page in pages for item in page.get("Contents", [])
    }


def download(s3: Any, path: str, to: Path) -> None:
    bucket, _, prefix = path.strip("/").partition("/")
    to.mkdir(parents=True, exist_ok=True)
    for key in listing(s3, path):
        target = to / key
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, f"{prefix}/{key}" if prefix else key, str(target))


def upload(s3: Any, folder: Path, path: str) -> None:
    bucket, _, prefix = path.strip("/").partition("/")
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            s3.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder).as_posix()}")


@dataclass
class Machine:
    """One container. `starts` are the counters that the platform shows it."""

    root: Path
    job_id: str
    body: dict[str, Any]
    account: Account
    index: int
    cards: int
    extra_env: dict[str, str] = field(default_factory=dict)
    schedule_count: int = 1
    process_count: int = 1
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def mount(self) -> Path:
        return self.root / "home" / "ma-user" / "modelarts"

    @property
    def log(self) -> Path:
        return self.mount / "log" / f"modelarts-job-{self.job_id}-worker-{self.index}.log"

    @property
    def pod(self) -> str:
        return f"modelarts-job-{self.job_id}-worker-{self.index}"

    @property
    def preset(self) -> bool:
        return "engine_name" in self.body["algorithm"]["engine"]

    def prepare(self, s3: Any) -> None:
        """What the platform does before the user's command: folders, code, input channels."""
        algorithm = self.body["algorithm"]
        code = algorithm["code_dir"].rstrip("/").rpartition("/")[2]
        for name in ("log", "inputs", "outputs", "user-job-dir"):
            (self.mount / name).mkdir(parents=True, exist_ok=True)
        download(s3, algorithm["code_dir"], self.mount / "user-job-dir" / code)
        for each in algorithm.get("inputs", []):
            download(s3, each["remote"]["obs"]["obs_url"], self.mount / "inputs" / f"{each['name']}_0")
        for each in algorithm.get("outputs", []):
            (self.mount / "outputs" / f"{each['name']}_0").mkdir(parents=True, exist_ok=True)

    def env(self) -> dict[str, str]:
        """The environment of a container; nothing of the submitter's machine but the search path."""
        algorithm, nodes = self.body["algorithm"], self.body["spec"]["resource"]["node_count"]
        hosts = [f"modelarts-job-{self.job_id}-worker-{k}.modelarts-job-{self.job_id}" for k in range(nodes)]
        env = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.root / "home" / "ma-user"),
            "MA_HOME": str(self.root / "home" / "ma-user"),
            "MA_MOUNT_PATH": str(self.mount),
            "MA_JOB_DIR": str(self.mount / "user-job-dir"),
            "MA_LOG_DIR": str(self.mount / "log"),
            "MA_CURRENT_IP": "127.0.0.1",
            "MA_TASK_NAME": "worker",
            "MA_NUM_HOSTS": str(nodes),
            "MA_NUM_GPUS": str(self.cards),
            "MA_CURRENT_INSTANCE_NAME": self.pod,
            "MA_SCHEDULE_CNT": str(self.schedule_count),
            "MA_PROC_START_CNT": str(self.process_count),
            "VC_TASK_INDEX": str(self.index),
            "VC_WORKER_NUM": str(nodes),
            "VC_WORKER_HOSTS": ",".join(hosts),
            "S3_ENDPOINT": self.account.s3_endpoint.partition("://")[2],
            "S3_USE_HTTPS": "1" if self.account.s3_endpoint.startswith("https") else "0",
            "S3_VERIFY_SSL": "0",
            "ACCESS_KEY_ID": self.account.s3_key,
            "SECRET_ACCESS_KEY": self.account.s3_secret,
            "NO_PROXY": "127.0.0.1",
            "LAUNCHER_LOCK_DIR": str(self.root / "locks"),
        }
        for kind in ("inputs", "outputs"):
            for each in algorithm.get(kind, []):
                env[each["name"]] = str(self.mount / kind / f"{each['name']}_0")
        return {**env, **algorithm.get("environments", {}), **self.extra_env}

    def write_rank_table(self, status: str, nodes: int) -> Path:
        """The table of a custom image: a folder with jobstart_hccl.json, whose groups are no server list."""
        folder = self.root / "user" / "config"
        folder.mkdir(parents=True, exist_ok=True)
        instances = [
            {
                "pod_name": f"modelarts-job-{self.job_id}-worker-{k}",
                "server_id": f"192.0.2.{k + 1}",
                "devices": [
                    {"device_id": str(c), "device_ip": f"192.168.{100 + c}.{k + 1}"}
                    for c in range(self.cards)
                ],
            }
            for k in range(nodes)
        ]
        group = {
            "group_name": f"modelarts-job-{self.job_id}",
            "device_count": str(nodes * self.cards),
            "instance_count": str(nodes),
            "instance_list": list(reversed(instances)) if status == "completed" else [],
        }
        table = {"status": status, "group_count": "1", "group_list": [group]}
        path = folder / "jobstart_hccl.json"
        path.write_text(json.dumps(table))
        return folder

    def start(self) -> None:
        """Once per machine; with a preset engine and cards, once per card."""
        algorithm, env = self.body["algorithm"], self.env()
        nodes = self.body["spec"]["resource"]["node_count"]
        commands: list[tuple[list[str], dict[str, str]]] = []
        if self.preset:
            boot = self.mount / "user-job-dir" / Path(algorithm["boot_file"]).parent.name
            words = [f"--{each['name']}={each['value']}" for each in algorithm.get("parameters", [])]
            command = ["python", str(boot / Path(algorithm["boot_file"]).name), *words]
            if not self.cards:
                commands.append((command, env))
            else:
                table = str(self.write_rank_table("completed", nodes) / "jobstart_hccl.json")
                commands += [
                    (
                        command,
                        {
                            **env,
                            "RANK_TABLE_FILE": table,
                            "RANK_ID": str(self.index * self.cards + card),
                            "RANK_SIZE": str(nodes * self.cards),
                            "ASCEND_DEVICE_ID": str(card),
                        },
                    )
                    for card in range(self.cards)
                ]
        else:
            if self.cards:
                env["RANK_TABLE_FILE"] = str(self.write_rank_table("initializing", nodes))
                threading.Timer(1.0, self.write_rank_table, ("completed", nodes)).start()
            commands.append((["bash", "-c", algorithm["command"]], env))
        home = Path(env["HOME"])
        for command, variables in commands:
            with self.log.open("ab") as output:
                self.processes.append(
                    subprocess.Popen(
                        dying_with_us(command),
                        cwd=home,
                        env=variables,
                        stdout=output,
                        stderr=output,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )

    def exit_code(self) -> int | None:
        """None while it runs; the first that is not 0 decides."""
        codes = [process.poll() for process in self.processes]
        failed = next((code for code in codes if code), None)
        if failed is not None:
            return 128 - failed if failed < 0 else failed
        return None if None in codes else 0

    def stop(self, grace_s: float = GRACE_S) -> None:
        """SIGTERM to what the platform started, and SIGKILL to whatever is left after the grace."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(p.poll() is None for p in self.processes):
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """As when a machine loses power: every process of the container is gone at once."""
        victims: list[psutil.Process] = []
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                victims += [
                    *psutil.Process(process.pid).children(recursive=True),
                    psutil.Process(process.pid),
                ]
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        for process in self.processes:
            process.wait(PATIENCE_S)
        self.processes = []

    def forget(self) -> None:
        """Another machine takes this one's place: its disk is empty."""
        text = self.log.read_bytes() if self.log.exists() else b""
        shutil.rmtree(self.root, ignore_errors=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(text)

    def sync(self, s3: Any) -> None:
        """Output channels and logs to OBS."""
        for each in self.body["algorithm"].get("outputs", []):
            upload(s3, self.mount / "outputs" / f"{each['name']}_0", each["remote"]["obs"]["obs_url"])
        log = self.body["spec"].get("log_export_path", {}).get("obs_url")
        if log and self.log.exists():
            bucket, _, prefix = log.strip("/").partition("/")
            s3.upload_file(str(self.log), bucket, f"{prefix}/{self.log.name}")
