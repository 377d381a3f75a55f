"""The variables that ModelArts sets in a container, as a value, and which moxing the image has."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.backends.variables import number_of
from launcher.errors import PlanError
from launcher.installed import version_of
from launcher.storage.registry import Options
from launcher.storage.s3.keychain import key_chain

Moxing = Literal["none", "platform", "foreign"]


@dataclass(frozen=True, slots=True)
class Container:
    """`node` counts machines; `rank` is set where the platform starts one process per card. `starts` grows with
    every start that the platform makes of this container's program."""

    node: int
    nodes: int
    hosts: tuple[str, ...]
    pod: str
    task: str
    mount: Path | None
    rank_table: Path | None
    schedule_count: int
    process_count: int
    rank: int | None

    @property
    def starts(self) -> int:
        return self.schedule_count + self.process_count - 1

    @classmethod
    def of(cls, env: Mapping[str, str] = os.environ) -> Container:
        """From the variables. Raises PlanError for a number that can't be read."""
        hosts = tuple(filter(None, (host.strip() for host in env.get("VC_WORKER_HOSTS", "").split(","))))
        nodes = _number(env, "MA_NUM_HOSTS", "VC_WORKER_NUM", default=max(1, len(hosts)))
        preset = "RANK_ID" in env and "ASCEND_DEVICE_ID" in env
        mount, table = env.get("MA_MOUNT_PATH"), env.get("RANK_TABLE_FILE")
        return cls(
            node=_number(env, "VC_TASK_INDEX", default=0),
            nodes=nodes,
            hosts=hosts,
            pod=env.get("MA_CURRENT_INSTANCE_NAME", ""),
            task=env.get("MA_TASK_NAME", "worker"),
            mount=Path(mount) if mount else None,
            rank_table=Path(table) if table else None,
            schedule_count=_number(env, "MA_SCHEDULE_CNT", default=1),
            process_count=_number(env, "MA_PROC_START_CNT", default=1),
            rank=_number(env, "RANK_ID", default=0) if preset else None,
        )

    def check(self, nodes: int) -> None:
        """Raises PlanError when the platform's job is not the plan's."""
        if self.nodes != nodes or self.node >= self.nodes:
            raise PlanError(
                f"the platform started machine {self.node} of {self.nodes}, the job has {nodes} machine(s)",
                hint="submit it again; nobody may change the number of machines of a job",
            )


def _number(env: Mapping[str, str], *names: str, default: int) -> int:
    found = number_of(env, *names)
    return default if found is None else found


def which_moxing() -> Moxing:
    """Which moxing is installed, without importing it: the platform's own takes seconds to load.

    PyPI has a package of the same name that has nothing to do with Huawei's.
    """
    try:
        spec = importlib.util.find_spec("moxing")
    except (ImportError, ValueError):
        return "none"
    if spec is None:
        return "none"
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if any((folder / "file").is_dir() or (folder / "file.py").exists() for folder in folders):
        return "platform"
    return "foreign"


def obs_client(word: str, env: Mapping[str, str] = os.environ) -> str:
    """`boto3` or `moxing`. By itself moxing is taken only where it is the platform's, and nothing else has keys:
    launcher's own engine verifies more, and is quicker with many files."""
    if word != "auto":
        return word
    named = any(env.get(name) for name in ("ACCESS_KEY_ID", "HUAWEICLOUD_SDK_AK", "AWS_ACCESS_KEY_ID"))
    keys = named or key_chain("obs", Options(env=env)).current() is not None
    return "moxing" if which_moxing() == "platform" and not keys else "boto3"


def moxing_words() -> str:
    """A sentence for the log."""
    kind = which_moxing()
    if kind == "platform":
        return f"moxing {version_of('moxing-framework') or version_of('moxing')} of the platform is here".replace(
            "  ", " "
        )
    if kind == "foreign":
        return (
            f"the package moxing {version_of('moxing')} of this image is not Huawei's: it comes from PyPI, has no "
            "moxing.file, and is not used; remove it from the image"
        )
    return "no moxing in this image"
