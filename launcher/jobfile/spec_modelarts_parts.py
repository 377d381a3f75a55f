"""Sections inside `modelarts` of a job file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from launcher.jobfile.section import Section, as_tuple
from vitmodels.validation.rule import RuleError


class ModelArtsVolume(Section):
    """A file system that the platform mounts into every container. Exactly one of `sfs`, `pfs` and `obs`."""

    sfs: str | None = Field(
        None, description="Path of SFS Turbo or another NFS server.", examples=["192.0.2.10:/data"]
    )
    pfs: str | None = Field(
        None, description="Path in a parallel file system of OBS.", examples=["/pfs-bucket/data"]
    )
    obs: str | None = Field(None, description="Folder of a bucket.", examples=["obs://bucket/data"])
    mount: str = Field(description="Where it appears in the container.", examples=["/mnt/data"])
    read_only: bool | None = Field(None, description="Mount without the right to write; SFS only.")

    @model_validator(mode="after")
    def _one_source(self) -> ModelArtsVolume:
        named = [name for name in ("sfs", "pfs", "obs") if getattr(self, name) is not None]
        if len(named) != 1:
            raise RuleError(
                expected="exactly one of sfs, pfs and obs",
                found=" and ".join(named) or "none",
                others=(("sfs",), ("pfs",), ("obs",)),
            )
        if self.sfs is None and self.read_only is not None:
            raise RuleError("read_only exists for sfs only", at=("read_only",), others=((named[0],),))
        if self.obs is not None and not self.obs.startswith("obs://"):
            raise RuleError(expected="a folder such as obs://bucket/data", at=("obs",))
        return self


class ModelArtsRestarts(Section):
    """Restarts by the platform, in addition to those of `retry`, which the run makes itself."""

    jobs: int = Field(
        0,
        description="Times that the platform starts the whole job again after a fault of a machine, 1 to 128 (some regions: 3). 0: never.",
    )
    pods: int = Field(0, description="Times that it starts one container again on another machine. 0: never.")
    unconditional: bool = Field(False, description="Start again after any exit code but 0.")
    on_hang: bool = Field(False, description="Start again when I/O and NPUs stand still.")
    hccl_operators: bool = Field(False, description="Repeat single HCCL operators that failed.")


class ModelArtsSsh(Section):
    """Ways into the containers while they run: `launcher ssh RUN`."""

    key_pairs: tuple[str, ...] = Field(
        description="Names of key pairs of the account (ECS console, Key Pair); their owners may log in.",
        min_length=1,
        examples=[["my-key"]],
    )

    _sequence = field_validator("key_pairs", mode="before")(as_tuple)


class ModelArtsPart(Section):
    """A part of a machine of a dedicated pool, in place of a whole one."""

    cpu: float = Field(gt=0, description="CPU cores.", examples=[24.0])
    memory: float = Field(gt=0, description="Memory in GB.", examples=[192.0])
    cards: float = Field(0, ge=0, description="NPUs of the part.", examples=[1.0])


class ModelArtsNodeAffinity(Section):
    """Which machines of a dedicated pool the job may have, by their labels. Each label with the values it may have; an empty
    list stands for any value."""

    require: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Only machines with all these labels.",
        examples=[{"os.modelarts.node/nodepoolname": ["fast"]}],
    )
    exclude: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="No machine with one of these labels.",
        examples=[{"kubernetes.io/hostname": ["192.0.2.7"]}],
    )
    prefer: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Machines with these labels first, where they are free.",
        examples=[{"os.modelarts.node/ha.redundant.enabled": ["false"]}],
    )

    @field_validator("require", "exclude", "prefer", mode="before")
    @classmethod
    def _sequences(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: tuple(each) if isinstance(each, list) else each for key, each in value.items()}


class ModelArtsLogExport(Section):
    """How the platform writes the containers' output that `export_logs` keeps."""

    version: Literal["v0", "v1"] = Field("v0", description="Format of the files, as the service numbers it.")
    rotation: bool = Field(False, description="Whether long output becomes several files.")
