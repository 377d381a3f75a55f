"""The section `modelarts` of a job file: what a training job on ModelArts needs beyond the sections that all back ends share."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from launcher.jobfile.console import CONSOLE_ADDRESS, obs_address
from launcher.jobfile.section import Section, as_tuple
from launcher.jobfile.spec_modelarts_parts import (
    ModelArtsLogExport,
    ModelArtsNodeAffinity,
    ModelArtsPart,
    ModelArtsRestarts,
    ModelArtsSsh,
    ModelArtsVolume,
)
from vitmodels.validation.rule import RuleError

NotifyEvent = Literal[
    "JobStarted",
    "JobCompleted",
    "JobFailed",
    "JobTerminated",
    "JobRestarted",
    "JobHanged",
    "JobPreempted",
]


class ModelArtsOptions(Section):
    """Options of the back end `modelarts`. Credentials come from the environment, the SDK's profile or the machine's agency."""

    ADDRESSES: ClassVar[tuple[str, ...]] = (
        "endpoint",
        "code[]",
        "inputs.*",
        "outputs.*",
        "volumes[].sfs",
        "volumes[].pfs",
        "volumes[].obs",
        "volumes[].mount",
    )

    region: str | None = Field(
        None, description="Region of pool and buckets.", examples=["cn-north-4"], pattern=r"^[a-z0-9-]+$"
    )
    endpoint: str | None = Field(
        None,
        description="Address of the ModelArts service; default: that of the region.",
        examples=["https://modelarts.cn-north-4.myhuaweicloud.com"],
    )
    project_id: str | None = Field(
        None,
        description="Id of the project; default: HUAWEICLOUD_SDK_PROJECT_ID.",
        pattern=r"^[0-9a-zA-Z_-]+$",
    )
    workspace: str = Field("0", description="Id of the workspace; 0 is the default one.")
    image: str | None = Field(
        None,
        description="Custom image in SWR; the node program is started once per machine.",
        examples=["my-org/ascend-launcher:0.1"],
    )
    image_repo_id: str | None = Field(None, description="Id of an SWR enterprise repository with the image.")
    engine: str | None = Field(
        None,
        description="Preset engine, as `engine_name:engine_version`; started once per card. With `image` too, that image takes the place of the engine's.",
        examples=[
            "Ascend-Powered-Engine:mindspore_2.7.1-cann_8.3.rc1-py_3.11-hce_2.0.2509-aarch64-snt9b",
            "Ascend-Powered-Engine:mindspore_2.7.1-cann_8.3.rc1-py_3.11-hce_2.0.2509-aarch64-snt9b23",
        ],
    )
    install_moxing: bool | None = Field(
        None,
        description="Let the platform install its moxing into the container; only where both `engine` and `image` are named.",
    )
    obs_client: Literal["auto", "boto3", "moxing"] = Field(
        "auto",
        description="What reaches OBS in the containers: launcher's own engine, or the platform's moxing. auto: moxing where a container has no keys.",
    )
    pool_id: str | None = Field(None, description="Dedicated resource pool; default: the public one.")
    flavor: str | None = Field(
        None,
        description="Kind of machine; default in a dedicated pool: the one with devices_per_node cards.",
        examples=["modelarts.pool.visual.8xlarge"],
    )
    volumes: tuple[ModelArtsVolume, ...] = Field(
        (),
        description="File systems to mount.",
        examples=[[{"sfs": "192.0.2.10:/data", "mount": "/mnt/data"}]],
    )
    inputs: dict[str, str] = Field(
        default_factory=dict,
        description="Input channels for a program of your own: name and OBS folder; the platform downloads each and tells its place in a variable of that name.",
        examples=[{"pretrained": "obs://bucket/weights"}],
    )
    outputs: dict[str, str] = Field(
        default_factory=dict,
        description="Output channels likewise: what is written there the platform uploads. Results of vitmodels need none.",
        examples=[{"extra": "obs://bucket/extra"}],
    )
    export_logs: bool = Field(
        True,
        description="Let the platform keep the containers' output in the run's folder, under platform-logs/.",
    )
    log_export: ModelArtsLogExport | None = Field(
        None,
        description="How these files are written; default: that of the service.",
        examples=[{"version": "v1", "rotation": True}],
    )
    restarts: ModelArtsRestarts = Field(
        default_factory=ModelArtsRestarts, description="What the platform itself repeats."
    )
    priority: int | None = Field(
        None, ge=1, le=3, description="Order in the queue of a dedicated pool; 3 is first."
    )
    preemptible: bool | None = Field(None, description="Whether jobs of higher priority may push it out.")
    affinity: Literal["cabinet", "hyperinstance", "networkTopology"] | None = Field(
        None, description="Which machines must stand together.", examples=["cabinet"]
    )
    affinity_group_size: int | None = Field(
        None, ge=1, description="How many machines stand together; needed but for cabinet."
    )
    affinity_job_level: Literal["cluster", "hyperinstanceGroup"] | None = Field(
        None,
        description="With networkTopology: how far apart all machines of the job may stand.",
        examples=["hyperinstanceGroup"],
    )
    affinity_group_level: Literal["slice", "hyperinstance", "hyperinstanceGroup"] | None = Field(
        None,
        description="With networkTopology: how far apart the machines of one group may stand.",
        examples=["hyperinstance"],
    )
    node_affinity: ModelArtsNodeAffinity | None = Field(
        None,
        description="Which machines of a dedicated pool the job may have. A resumed run avoids those that failed it without being told.",
        examples=[{"exclude": {"kubernetes.io/hostname": ["192.0.2.7"]}}],
    )
    part: ModelArtsPart | None = Field(
        None,
        description="A part of a machine, in place of a whole one; dedicated pools only.",
        examples=[{"cpu": 24.0, "memory": 192.0, "cards": 1.0}],
    )
    ssh: ModelArtsSsh | None = Field(
        None, description="Lets people log in to the containers.", examples=[{"key_pairs": ["my-key"]}]
    )
    experiment: str | None = Field(
        None,
        max_length=64,
        description="Name of the experiment that the console groups the job under.",
        examples=["tnt sizes"],
    )
    tags: dict[str, str] = Field(
        default_factory=dict,
        description="Tags of the job, for bills and searches; sent once the job is made, because its request has no place for them.",
        examples=[{"team": "vision"}],
    )
    keep_hours: int | None = Field(
        None,
        ge=1,
        description="Hours that the machines stay reserved after the job has ended, to look at them.",
    )
    retention: Literal["enabled", "disabled"] | None = Field(
        None,
        description="Whether the platform may remove its record of the job when it grows old.",
        examples=["enabled"],
    )
    notify_topic: str | None = Field(None, description="URN of the topic of the notification service.")
    notify_events: tuple[NotifyEvent, ...] = Field(
        ("JobFailed", "JobHanged"), description="What it tells the topic."
    )
    annotations: dict[str, str] = Field(
        default_factory=dict,
        description="Further annotations of the job, as they are.",
        examples=[{"tensorboard/enable": "true"}],
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of the service's request, merged into it: what no field here says. Checked against the classes of the SDK.",
        examples=[{"spec": {"custom_metrics": [{"http_get": {"path": "/metrics", "port": 9090}}]}}],
    )
    code: tuple[str, ...] = Field(
        (),
        description="Folders with your own program; they travel with launcher and vitmodels.",
        examples=[["src"]],
    )
    requirements: tuple[str, ...] = Field(
        (),
        description="Packages that the container installs with pip before it starts. Empty: nothing is installed.",
        examples=[["boto3==1.44.5"]],
    )
    python: str = Field("python", description="Python in the image.")
    description: str = Field("", max_length=128, description="Words that the platform shows with the job.")

    _sequence = field_validator("volumes", "notify_events", "code", "requirements", mode="before")(as_tuple)

    @field_validator("requirements")
    @classmethod
    def _no_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, text in enumerate(value, 1):
            if re.search(r"://[^/\s@]+@", text):
                raise RuleError(
                    f"credentials don't belong into a job file (entry {number}); the image's pip configuration may hold them"
                )
        return value

    @field_validator("tags")
    @classmethod
    def _tags_of_the_service(cls, tags: dict[str, str]) -> dict[str, str]:
        for key, value in tags.items():
            if not re.fullmatch(r"(?!_sys_)(?! )[\w .:=+@-]{1,128}(?<! )", key):
                wanted = "a key of at most 128 letters, digits, blanks and _.:=+-@, without _sys_ in front"
                raise RuleError(expected=wanted, at=(key,))
            if not re.fullmatch(r"[\w .:/=+@-]{0,255}", value):
                raise RuleError(
                    expected="at most 255 letters, digits, blanks and _.:/=+-@ in a value", at=(key,)
                )
        return tags

    @field_validator("inputs", "outputs")
    @classmethod
    def _not_of_the_console(cls, channels: dict[str, str]) -> dict[str, str]:
        for name, url in channels.items():
            if found := obs_address(url):
                raise RuleError(CONSOLE_ADDRESS, hint=found.hint, at=(name,))
        return channels

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/@?#]+/?", value):
            raise RuleError(expected="an address such as https://modelarts.cn-north-4.myhuaweicloud.com")
        return value.rstrip("/") if value else value

    @field_validator("engine")
    @classmethod
    def _name_and_version(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^:\s]+:[^:\s]+", value):
            raise RuleError(expected="name and version with a colon between them")
        return value
