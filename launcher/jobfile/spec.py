"""The job file as frozen values. The field descriptions are the documentation: the JSON Schema, `launcher init`
and the error messages are made from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from launcher.jobfile.quantities import Duration
from launcher.jobfile.section import Section, as_tuple
from launcher.jobfile.spec_failures import RetrySpec, WatchSpec
from launcher.jobfile.spec_kubernetes import KubernetesOptions
from launcher.jobfile.spec_local import LocalOptions
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.jobfile.spec_notify import NotifySpec
from launcher.jobfile.spec_outputs import OutputsSpec
from launcher.jobfile.spec_places import DataSpec, OutputSpec
from launcher.jobfile.spec_profile import ProfileSpec
from launcher.jobfile.spec_progress import ProgressSpec
from launcher.jobfile.spec_slurm import SlurmOptions
from launcher.jobfile.spec_track import TrackSpec
from launcher.jobfile.urls import StoreUrl
from vitmodels.secrets import looks_secret
from vitmodels.validation.rule import RuleError

Task = Literal["train", "eval", "export", "infer"]
Device = Literal["cpu", "ascend910", "ascend910b", "atlas-a3", "ascend310p", "auto"]
Backend = Literal["local", "slurm", "modelarts", "kubernetes"]
PackageName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
ExportFormat = Literal["MINDIR", "ONNX", "AIR"]


class ModelSpec(Section):
    """What is trained, and by which recipe."""

    arch: str | None = Field(
        None,
        description="Architecture; default: the one the recipe names.",
        examples=["tnt_s_patch16_224", "vit_base_patch16_224"],
    )
    config: str | None = Field(
        None,
        description="Recipe file: the flat keys of the TNT and ViT model-zoo READMEs.",
        examples=["vitmodels/configs/tnt_s_patch16_224.yaml"],
    )
    set: dict[str, Any] = Field(
        default_factory=dict, description="Overrides of single recipe keys.", examples=[{"epochs": 300}]
    )
    checkpoint: StoreUrl | None = Field(
        None,
        description="Folder of an earlier run: start from its newest complete checkpoint. Required for the tasks eval, export and infer.",
    )


class ResourceSpec(Section):
    """What the job runs on."""

    backend: Backend = Field("local", description="Where node programs are started.")
    device: Device = Field(
        "cpu",
        description="Kind of device a rank uses. ascend310p only infers; auto: the chip that npu-smi names on this machine, else cpu.",
    )
    nodes: int = Field(1, ge=1, le=1024, description="Machines.")
    devices_per_node: int = Field(1, ge=1, le=64, description="Devices, and so ranks, per machine.")
    time_limit: Duration | None = Field(
        None,
        description="The run is stopped, with a checkpoint, when this time is over.",
        examples=["12:30:00"],
    )


class AfterSpec(Section):
    """What follows a training that went well."""

    eval: bool = Field(
        True, description="Evaluate the last checkpoint, read back from disk, over the whole validation part."
    )
    export: tuple[ExportFormat, ...] = Field(
        ("MINDIR",), description="Formats to export; MINDIR is evaluated again after the export. [] for none."
    )

    _sequence = field_validator("export", mode="before")(as_tuple)


class JobSpec(Section):
    """A job: what to train, on what, from where and to where."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="1 to 64 letters, digits, `_` or `-`; the run id begins with it.",
        examples=["tnt-s-imagenet-8p"],
    )
    base: str | None = Field(
        None,
        min_length=1,
        description="Another job file, beside this one: all its values hold that are not given here. Sections are merged key by key.",
        examples=["tnt_s_8p.yaml"],
    )
    task: Task = Field("train", description="train; or eval, export, infer of an earlier run's checkpoint.")
    program: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Own training program, a command started once per rank, in place of vitmodels. `python` is the job's own Python.",
        examples=[["python", "my_train.py"]],
    )
    args: dict[str, str] = Field(
        default_factory=dict,
        description="Values that fill `{args.NAME}` in `program`, `resume_args` and `env`; --set args.NAME=VALUE and --sweep args.NAME=V1,V2 change them.",
        examples=[{"lr": "0.1"}],
    )
    per: Literal["rank", "node"] = Field(
        "rank",
        description="How often `program` is started: once per rank, or once per machine for a program that starts the ranks itself, such as torchrun or msrun.",
    )
    resume_args: tuple[str, ...] | None = Field(
        None,
        description="Words that are added to `program` when there is a checkpoint to resume from; `{resume}` is its path, as in `program` itself, where it is empty at the first start.",
        examples=[["--resume", "{resume}"]],
    )
    requires: tuple[PackageName, ...] | None = Field(
        None,
        description="Python packages that the program imports; default: mindspore and torch, where its script imports them. Machines that lack one are named before data are staged. Without mindspore among them no MindSpore scheduler is started.",
        examples=[["torch"]],
    )
    model: ModelSpec = Field(default_factory=ModelSpec, description="What is trained, and by which recipe.")
    data: DataSpec = Field(default_factory=DataSpec, description="Where the images are.")
    resources: ResourceSpec = Field(default_factory=ResourceSpec, description="What the job runs on.")
    output: OutputSpec = Field(default_factory=OutputSpec, description="Where results go.")
    after: AfterSpec = Field(default_factory=AfterSpec, description="What follows a training that went well.")
    retry: RetrySpec = Field(default_factory=RetrySpec, description="When a rank fails.")
    watch: WatchSpec = Field(default_factory=WatchSpec, description="How ranks are watched and stopped.")
    progress: ProgressSpec = Field(
        default_factory=ProgressSpec,
        description="How far a program of one's own is, read from the lines that it prints.",
    )
    outputs: OutputsSpec = Field(
        default_factory=OutputsSpec,
        description="Which files of a program of one's own are results; default: all that it leaves.",
    )
    profile: ProfileSpec = Field(
        default_factory=ProfileSpec, description="Steps that MindSpore's profiler records."
    )
    notify: NotifySpec = Field(default_factory=NotifySpec, description="Who hears of the run, and of what.")
    track: TrackSpec = Field(
        default_factory=TrackSpec, description="Trackers that get the curves while the run goes on."
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables of every rank; never a secret.",
        examples=[{"HCCL_BUFFSIZE": "200"}],
    )
    env_from: tuple[str, ...] = Field(
        (),
        description="Credentials of stores and clouds, by the names of their variables, that ranks get from the shell that submits. "
        "They get all other variables of that shell anyway.",
        examples=[["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]],
    )
    local: LocalOptions = Field(default_factory=LocalOptions, description="Options of the back end `local`.")
    modelarts: ModelArtsOptions = Field(
        default_factory=ModelArtsOptions, description="Options of the back end `modelarts`."
    )
    slurm: SlurmOptions = Field(default_factory=SlurmOptions, description="Options of the back end `slurm`.")
    kubernetes: KubernetesOptions = Field(
        default_factory=KubernetesOptions, description="Those of the back end `kubernetes`."
    )

    _sequence = field_validator("program", "resume_args", "requires", mode="before")(as_tuple)

    @field_validator("env_from")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for number, name in enumerate(names):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise RuleError(f"'{name}' is no name: letters, digits and _ only", at=(number,))
        return names

    @field_validator("args", mode="before")
    @classmethod
    def _as_words(cls, value: Any) -> Any:
        """Numbers stand in a command as they are written."""
        if not isinstance(value, dict):
            return value
        plain = (int, float, bool)
        return {key: str(each) if isinstance(each, plain) else each for key, each in value.items()}

    @field_validator("env", "args")
    @classmethod
    def _no_secrets(cls, values: Mapping[str, str]) -> Mapping[str, str]:
        for key in values:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                raise RuleError(f"'{key}' is no name: letters, digits and _ only", at=(key,), of_key=True)
            if looks_secret(key):
                raise RuleError(
                    f"'{key}' looks like a secret; export it in the shell or use a profile, it is inherited from there (those of a store: by env_from)",
                    at=(key,),
                    of_key=True,
                )
        return values

    @model_validator(mode="after")
    def _profile_fits(self) -> JobSpec:
        if self.profile.steps is None:
            return self
        if self.program is None and self.task != "train":
            raise RuleError(
                f"task '{self.task}' has no steps to profile", at=("profile", "steps"), others=(("task",),)
            )
        ranks = self.resources.nodes * self.resources.devices_per_node
        for place, rank in enumerate(self.profile.ranks):
            if rank >= ranks:
                raise RuleError(
                    f"there is no rank {rank}: this job has {ranks}, numbered from 0",
                    at=("profile", "ranks", place),
                    others=(("resources", "devices_per_node"), ("resources", "nodes")),
                )
        return self

    @model_validator(mode="after")
    def _complete(self) -> JobSpec:
        if self.program is not None:
            return self
        if self.model.config is None and self.model.arch is None:
            raise RuleError(
                expected="a recipe file (or model.arch, or a program of your own)",
                found="none",
                at=("model", "config"),
                others=(("model", "arch"), ("program",)),
            )
        if self.data.url is None and self.task != "export":
            raise RuleError(
                expected="the folder or URL of the images",
                found="none",
                at=("data", "url"),
                others=(("program",),),
            )
        if self.task != "train" and self.model.checkpoint is None:
            raise RuleError(
                f"task '{self.task}' works on an earlier run's checkpoint; name the folder of that run",
                at=("model", "checkpoint"),
                others=(("task",), ("program",)),
            )
        return self


def backend_sections() -> dict[str, type[Section]]:
    """The sections that belong to one back end each, by its name."""
    return {name: options_class(name) for name in get_args(Backend)}


def options_class(backend: str) -> type[Section]:
    """The section with the name of a back end; an empty one for a back end without options."""
    field = JobSpec.model_fields.get(backend) if backend in get_args(Backend) else None
    section = field.annotation if field else None
    return section if isinstance(section, type) and issubclass(section, Section) else Section
