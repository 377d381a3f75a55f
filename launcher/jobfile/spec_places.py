"""The sections `data` and `output` of a job file, and how a store is reached."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from launcher.jobfile.quantities import Duration, Size
from launcher.jobfile.section import Section
from launcher.jobfile.urls import Endpoint, StoreUrl
from vitmodels.validation.rule import RuleError


class StoreOptions(Section):
    """How to reach an object store. Credentials come from the environment or from `profile`, never from here."""

    endpoint: Endpoint | None = Field(
        None,
        description="Address of the S3 service; default: AWS_ENDPOINT_URL, else the provider's own.",
        examples=["https://obs.cn-north-4.myhuaweicloud.com"],
    )
    region: str | None = Field(None, description="Region of the bucket.", examples=["cn-north-4"])
    profile: str | None = Field(None, description="Profile of the AWS credentials file to use.")
    ca_bundle: str | None = Field(None, description="File with the certificates to trust for https.")
    addressing: Literal["auto", "virtual", "path"] = Field(
        "auto",
        description="Where the bucket's name goes: into the host name (virtual) or the path. auto: virtual, path for IP addresses.",
    )


class DataSpec(StoreOptions):
    """Where the images are, and where each node keeps its copy."""

    url: StoreUrl | None = Field(
        None,
        description="Folder with train/<class>/ and val/<class>/, or what `launcher pack` made of one; for a program of one's own any folder, or one file. A path is relative to the current directory.",
        examples=["obs://bucket/imagenet", "data/imagenet"],
    )
    cache_dir: str | None = Field(
        None,
        description="Local disk for the staged copy, shared by all runs of the machine; default: $LAUNCHER_HOME/cache.",
        examples=["/cache"],
    )
    unpack: bool | None = Field(
        None,
        description="Unpack a packed data set to class folders while it is staged; false: leave it packed, ranks read the shards. Default: true, but false with placement: shard. Class folders are not touched by it.",
    )
    placement: Literal["full", "shard"] = Field(
        "full",
        description="full: each machine gets all of it. shard: each machine gets its part of the training shards of a packed data set, and images are shuffled within the part only.",
    )
    train_images: int | None = Field(
        None,
        ge=1,
        description="Number of training images, for the arithmetic before staging; checked against what was staged.",
        examples=[1281167],
    )
    workers: int = Field(64, ge=1, le=256, description="Connections to the store while staging.")
    timeout: Duration = Field(
        6 * 3600, description="Staging that takes longer fails, with its progress kept for the next try."
    )

    @model_validator(mode="after")
    def _parts_stay_packed(self) -> DataSpec:
        if self.placement == "shard" and self.unpack:
            raise RuleError(
                "a data set that is placed by shards stays packed; leave unpack out",
                at=("unpack",),
                others=(("placement",),),
            )
        return self


class OutputSpec(StoreOptions):
    """Where results go."""

    url: StoreUrl = Field(
        "runs",
        description="Store for run folders; a path is relative to the current directory.",
        examples=["obs://bucket/runs"],
    )
    work_dir: str | None = Field(
        None,
        description="Local disk for checkpoints and logs until they are uploaded; default: $LAUNCHER_HOME/work.",
        examples=["/cache/work"],
    )
    upload_every: Duration | None = Field(
        None,
        description="Pause between two uploads of what is new; default: 2 s to files, 15 s to a network store. On more than 16 machines all but the first take a third of a second for each machine of the run, if that is longer.",
    )
    upload_limit: Size | None = Field(
        None,
        ge=1 << 16,
        description="Bytes per second that a machine sends at most; checkpoints then share the line politely.",
        examples=["200MB"],
    )
    upload_patience: Duration = Field(
        3600,
        description="How long the end of a run waits for a store that does not answer.",
    )
