"""The body of `POST /v2/{project_id}/training-jobs` as typed values.

Field names are those of the service. What is None is left out of the body.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from launcher.backends.modelarts.sdkfields import merged


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Experiment(_Value):
    name: str


class Metadata(_Value):
    name: str
    workspace_id: str
    description: str
    annotations: dict[str, str] | None = None
    training_experiment_reference: Experiment | None = None


class Engine(_Value):
    image_url: str | None = None
    image_repo_id: str | None = None
    engine_name: str | None = None
    engine_version: str | None = None
    install_sys_packages: bool | None = None


class Obs(_Value):
    obs_url: str


class Remote(_Value):
    obs: Obs


class Channel(_Value):
    name: str
    access_method: str = "env"
    remote: Remote


class Parameter(_Value):
    name: str
    value: str


class Algorithm(_Value):
    engine: Engine
    code_dir: str
    command: str | None = None
    boot_file: str | None = None
    parameters: tuple[Parameter, ...] | None = None
    environments: dict[str, str]
    inputs: tuple[Channel, ...] | None = None
    outputs: tuple[Channel, ...] | None = None


class Part(_Value):
    cpu_core_num: float
    mem_size: float
    accelerator_num: float


class Resource(_Value):
    pool_id: str | None = None
    flavor_id: str | None = None
    node_count: int
    main_container_customized_flavor: Part | None = None


class Nfs(_Value):
    nfs_server_path: str
    local_path: str
    read_only: bool | None = None


class Pfs(_Value):
    pfs_path: str
    local_path: str


class ObsVolume(_Value):
    obs_path: str
    local_path: str


class Volume(_Value):
    nfs: Nfs | None = None
    pfs: Pfs | None = None
    obs: ObsVolume | None = None


class Hours(_Value):
    time_unit: str = "HOURS"
    duration: int


class Retention(_Value):
    policy: str


class LogExport(_Value):
    version: str
    rotation_enabled: bool


class Requirement(_Value):
    key: str
    operator: str
    values: tuple[str, ...] | None = None


class Term(_Value):
    """Requirements on one machine, all of which must hold."""

    matchExpressions: tuple[Requirement, ...]  # noqa: N815 - the service's name


class Selector(_Value):
    """Terms, one of which must hold."""

    nodeSelectorTerms: tuple[Term, ...]  # noqa: N815 - the service's name


class Preference(_Value):
    weight: int
    preference: Term


class RequiredAffinity(_Value):
    affinity_type: str | None = None
    job_level: str | None = None
    affinity_group_size: int | None = None
    affinity_group_level: str | None = None
    node_affinity: Selector | None = None


class PreferredAffinity(_Value):
    node_affinity: tuple[Preference, ...]


class SchedulePolicy(_Value):
    priority: int | None = None
    preemptible: bool | None = None
    required_affinity: RequiredAffinity | None = None
    preferred_affinity: PreferredAffinity | None = None


class Notification(_Value):
    topic_urn: str
    events: tuple[str, ...]


class Spec(_Value):
    resource: Resource
    volumes: tuple[Volume, ...] | None = None
    log_export_path: Obs | None = None
    log_export_config: LogExport | None = None
    auto_stop: Hours | None = None
    schedule_policy: SchedulePolicy | None = None
    notification: Notification | None = None
    retention: Retention | None = None
    reserved_time: Hours | None = None


class Ssh(_Value):
    key_pair_names: tuple[str, ...]


class Endpoints(_Value):
    ssh: Ssh


class JobRequest(_Value):
    """One training job."""

    kind: str = "job"
    metadata: Metadata
    algorithm: Algorithm
    spec: Spec
    endpoints: Endpoints | None = None
    extra: dict[str, Any] = Field({}, exclude=True, description="What the job file adds to the body.")

    def body(self) -> dict[str, Any]:
        """What is sent, literally."""
        return merged(self.model_dump(mode="json", exclude_none=True), self.extra)
