"""The plan of a run: everything that a submission has decided, as one frozen value."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from launcher.errors import PlanError
from launcher.jobfile.spec import backend_sections, options_class
from launcher.jobfile.spec_failures import RetrySpec, WatchSpec
from launcher.jobfile.spec_notify import NotifySpec
from launcher.jobfile.spec_outputs import OutputsSpec
from launcher.jobfile.spec_profile import ProfileSpec
from launcher.jobfile.spec_progress import ProgressSpec
from launcher.jobfile.spec_track import TrackSpec
from launcher.runfolder.paths import RunDir
from launcher.storage.address import StoreAddress

ASCEND_DEVICES = ("ascend910", "ascend910b", "atlas-a3")
"""Those that train, and so have rank tables."""
INFERENCE_DEVICES = ("ascend310p",)
NPU_DEVICES = (*ASCEND_DEVICES, *INFERENCE_DEVICES)
HCCL_CONNECT_TIMEOUT_S = 1800
"""Ranks start at different times, because of staging and compilation. HCCL's own 120 s is the most frequent failure."""
OUTSIDE = "{outside}/"
"""Begins a word of a program that names a file which is not copied to the machines."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rank(Frozen):
    """One process on one device. `env` holds what differs between ranks."""

    rank: int
    node: int
    local_rank: int
    env: dict[str, str]


class Step(Frozen):
    """One program, started for all ranks, for rank 0 only, or once per machine. A step begins when the one before ended with 0."""

    name: str
    argv: tuple[str, ...]
    ranks: Literal["all", "first", "nodes"] = "all"
    resume_args: tuple[str, ...] = Field(
        (), description="Words that follow `argv` when there is a checkpoint file to resume from."
    )


class SubmittedFolder(Frozen):
    """The folder where a program of the user's own was submitted. `digest` is that of snapshot.tar.gz in the run's folder."""

    folder: str
    files: int
    bytes: int
    links: int = 0
    digest: str = ""


class SubmittedCode(Frozen):
    """The job's own code folders as they were submitted: the digest of the code.zip that holds them, and of launcher's code in it."""

    digest: str
    launcher: str


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
    """All that a node program needs to know. Reads the plans of older runs, too."""

    format: int = 1
    run_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")
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
    env_from: tuple[str, ...] = Field((), description="Credentials of the submitter's shell that ranks get.")
    ranks: tuple[Rank, ...]
    steps: tuple[Step, ...]
    retry: RetrySpec
    watch: WatchSpec
    progress: ProgressSpec | None = Field(
        None, description="How the lines of ranks are read for progress; None: they are not."
    )
    outputs: OutputsSpec = Field(
        default_factory=OutputsSpec, description="Which files of a program of one's own are results."
    )
    profile: ProfileSpec = Field(default_factory=ProfileSpec, description="Steps that are profiled.")
    notify: NotifySpec = Field(
        default_factory=NotifySpec, description="Who is told of the run; secrets are named by variables."
    )
    submitted_in: str = Field(
        "", description="The folder of the submission, for commands of `notify`; empty without any."
    )
    track: TrackSpec = Field(
        default_factory=TrackSpec, description="Trackers that get the curves; they hold no secret."
    )
    options: SerializeAsAny[BaseModel] = Field(description="The job file's section of the back end.")
    after_runs: tuple[str, ...] = Field((), description="Runs that must succeed before this one begins.")
    after_jobs: tuple[str, ...] = Field((), description="The platform's jobs of those runs.")
    code: str = Field("", description="SHA-256 of the code that machines take from the run's folder.")
    own_code: SubmittedCode | None = Field(
        None, description="The job's own code folders as they were submitted; None where there are none."
    )
    requires: tuple[str, ...] = Field((), description="Packages that every machine needs.")
    sources: dict[str, str] = Field(
        default_factory=dict,
        description="Files of the user's own program that every machine needs, with their SHA-256.",
    )
    snapshot: SubmittedFolder | None = Field(
        None, description="What the working folders of a program of one's own begin with."
    )
    keep_free: float = Field(0.0, description="Share of the cache's disk that staging leaves free.")
    rehearsal: bool = False
    notes: tuple[str, ...] = Field((), description="Changes that were made to the job, in words.")

    @model_validator(mode="before")
    @classmethod
    def _read_options(cls, values: Any) -> Any:
        """Options are read by the class of the plan's back end."""
        if not isinstance(values, dict):
            return values
        values = values if "options" in values else _from_older_format(values)
        options = values["options"]
        if not isinstance(options, BaseModel):
            section = options_class(str(values.get("backend")))
            values = {**values, "options": section.model_validate_json(json.dumps(options))}
        return values

    @classmethod
    def read(cls, data: bytes | str, where: str) -> Plan:
        """The plan in a plan.json. Raises PlanError naming what this launcher can't read."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "plan"
            raise PlanError(
                f"this launcher can't read the plan: {field}: {first['msg']}",
                where=where,
                hint="use the launcher that made it, or submit the job again",
            ) from error

    def text(self) -> str:
        """The content of plan.json."""
        return self.model_dump_json(indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of plan.json. It travels with the job, which refuses another plan."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    @property
    def run_dir(self) -> RunDir:
        return RunDir(Path(self.work_dir) / self.run_id)

    @property
    def own_program(self) -> bool:
        """Whether it runs the user's program, and not those of vitmodels."""
        return self.arithmetic is None

    @property
    def env_before_ranks(self) -> dict[str, str]:
        """`env` without what is known only when ranks start, such as ports."""
        return {name: value for name, value in self.env.items() if "{" not in value}

    @property
    def world_size(self) -> int:
        return self.nodes * self.devices_per_node

    def ranks_of(self, node: int) -> tuple[Rank, ...]:
        return tuple(rank for rank in self.ranks if rank.node == node)


def _from_older_format(values: dict[str, Any]) -> dict[str, Any]:
    """Plans used to hold the options, with the runs to follow among them, under the name of their back end."""
    sections = backend_sections()
    options = values.get(str(values.get("backend"))) or {}
    rest = {key: value for key, value in values.items() if key not in sections}
    return {**rest, "options": options, "after_runs": options.get("after", ())}
