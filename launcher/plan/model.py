"""The plan of a run: everything that submit decided, as one frozen value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from launcher.jobfile.spec import RetrySpec, WatchSpec
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.jobfile.spec_slurm import SlurmOptions
from launcher.runfolder.paths import RunDir
from launcher.storage.address import StoreAddress

ASCEND_DEVICES = ("ascend910", "ascend910b", "atlas-a3")
HCCL_CONNECT_TIMEOUT_S = (
    1800  # ranks start apart: staging, compile. HCCL's own 120 s is the most frequent failure.
)
CONTAINER_HOME = "/cache/ascend-launcher"
OUTSIDE = "{outside}/"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rank(Frozen):
    """One process on one device. `env` holds what differs between ranks."""

    rank: int
    node: int
    local_rank: int
    env: dict[str, str]


class Step(Frozen):
    """One program, started on all ranks or on rank 0 only. A step begins when the one before ended with 0."""

    name: str
    argv: tuple[str, ...]
    ranks: Literal["all", "first"] = "all"


class Arithmetic(Frozen):
    """What the recipe means in numbers on this many ranks. Steps are known when the number of images is."""

    world_size: int
    batch_per_rank: int
    global_batch: int
    epochs: int
    learning_rate: float
    parameters: int
    checkpoint_bytes: int
    keep_checkpoints: int
    train_images: int | None
    steps_per_epoch: int | None
    steps: int | None


class Plan(Frozen):
    """All that a node program needs to know."""

    format: int = 1
    run_id: str
    name: str
    task: str
    backend: str
    device: str
    nodes: int
    devices_per_node: int
    python: str
    store: StoreAddress
    data: StoreAddress | None
    checkpoint: StoreAddress | None
    unpack: bool = True
    placement: Literal["full", "shard"] = "full"
    cache_dir: str
    work_dir: str
    stage_workers: int
    stage_timeout_s: int
    upload_every_s: int
    upload_bytes_per_s: int | None = None
    upload_patience_s: int
    time_limit_s: int | None
    recipe: dict[str, Any]
    arithmetic: Arithmetic | None
    env: dict[str, str]
    ranks: tuple[Rank, ...]
    steps: tuple[Step, ...]
    retry: RetrySpec
    watch: WatchSpec
    modelarts: ModelArtsOptions | None = Field(
        None,
        description="Set for that back end: then folders are those of containers, not of the submitter's machine.",
    )
    slurm: SlurmOptions | None = Field(None, description="Set for that back end.")
    after_jobs: tuple[str, ...] = Field((), description="Jobs of the platform that must end well before.")
    code: str = Field("", description="SHA-256 of the code that other machines take from the run's folder.")
    requires: tuple[str, ...] = Field((), description="Packages that every machine needs.")
    sources: dict[str, str] = Field(
        default_factory=dict,
        description="Files of a program of one's own, with their SHA-256, to be on every machine.",
    )
    rehearsal: bool = False
    notes: tuple[str, ...] = Field((), description="What was changed on the way to this plan, in words.")

    @property
    def run_dir(self) -> RunDir:
        return RunDir(Path(self.work_dir) / self.run_id)

    @property
    def world_size(self) -> int:
        return self.nodes * self.devices_per_node

    def ranks_of(self, node: int) -> tuple[Rank, ...]:
        return tuple(rank for rank in self.ranks if rank.node == node)
