"""From a plan to the request that makes its job. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from launcher.backends.modelarts.body import (
    Algorithm,
    Channel,
    Endpoints,
    Engine,
    Experiment,
    Hours,
    JobRequest,
    LogExport,
    Metadata,
    Nfs,
    Notification,
    Obs,
    ObsVolume,
    Parameter,
    Part,
    Pfs,
    Remote,
    Resource,
    Retention,
    Spec,
    Ssh,
    Volume,
)
from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.schedule import schedule_policy
from launcher.backends.modelarts.values import bucket_path, environments, flavor
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.model import Plan

LAST_HOUR_S = 3600
"""The platform's own limit comes this much later than the run's, which leaves time to save and upload."""
BOOT = "boot.py"
CODE_DIGEST = "0" * 64
"""In place of the digest of code that is not known."""


def job_name(run_id: str, attempt: int, serial: int = 1) -> str:
    """Unique for ever, so that a job whose creation was not answered can be found again. `serial` counts jobs of one
    attempt: there is more than one when a job ended before any of its containers began."""
    return f"{run_id}-a{attempt}" + (f"-{serial}" if serial > 1 else "")


def job_description(plan: Plan) -> str:
    """Names the run's folder. It proves that a job that was found by name is ours."""
    return f"{plan.store.url} {options_of(plan).description}".strip()[:256]


def code_url(plan: Plan, digest: str) -> str:
    """Folder of the code snapshot: beside the runs, one per content."""
    parent, _, _ = plan.store.url.rpartition("/")
    return f"{parent}/.code/{digest[:32]}"


def job_request(
    plan: Plan,
    attempt: int,
    digest: str = CODE_DIGEST,
    plan_digest: str = "",
    serial: int = 1,
    avoid: Sequence[str] = (),
) -> JobRequest:
    """The job of one attempt; `digest` is that of its code, `plan_digest` that of its plan.json. `avoid`: addresses of
    machines on which earlier attempts failed."""
    options = options_of(plan)
    return JobRequest(
        metadata=Metadata(
            name=job_name(plan.run_id, attempt, serial),
            workspace_id=options.workspace,
            description=job_description(plan),
            annotations=_annotations(options) or None,
            training_experiment_reference=Experiment(name=options.experiment) if options.experiment else None,
        ),
        algorithm=_algorithm(plan, options, attempt, digest, plan_digest),
        spec=_spec(plan, options, avoid),
        endpoints=Endpoints(ssh=Ssh(key_pair_names=options.ssh.key_pairs)) if options.ssh else None,
        extra=options.extra,
    )


def _annotations(options: ModelArtsOptions) -> dict[str, str]:
    restarts = options.restarts
    annotations = {
        "job-retry-num": str(restarts.jobs) if restarts.jobs else "",
        "pod-retry-num": str(restarts.pods) if restarts.pods else "",
        "job-unconditional-retry": "true" if restarts.unconditional else "",
        "hang-retry": "true" if restarts.on_hang else "",
        "hccl_op_retry": "true" if restarts.hccl_operators else "",
    }
    return {
        **options.annotations,
        **{f"fault-tolerance/{key}": value for key, value in annotations.items() if value},
    }


def _algorithm(
    plan: Plan, options: ModelArtsOptions, attempt: int, digest: str, plan_digest: str
) -> Algorithm:
    code = bucket_path(code_url(plan, digest))
    words = _boot_words(plan, attempt, digest, plan_digest)
    channels = {
        "inputs": tuple(_channel(name, url) for name, url in options.inputs.items()) or None,
        "outputs": tuple(_channel(name, url) for name, url in options.outputs.items()) or None,
    }
    common = {"code_dir": code, "environments": environments(plan), **channels}
    if options.engine is not None:
        name, _, version = options.engine.partition(":")
        return Algorithm(
            engine=Engine(
                engine_name=name,
                engine_version=version,
                image_url=options.image,
                image_repo_id=options.image_repo_id,
                install_sys_packages=options.install_moxing if options.image else None,
            ),
            boot_file=f"{code}{BOOT}",
            parameters=tuple(Parameter(name=key, value=value) for key, value in words.items()),
            **common,
        )
    arguments = " ".join(f"--{key}={value}" for key, value in words.items())
    folder = code.rstrip("/").rpartition("/")[2]
    return Algorithm(
        engine=Engine(image_url=options.image, image_repo_id=options.image_repo_id),
        command=f"{options.python} ${{MA_JOB_DIR}}/{folder}/{BOOT} {arguments}",
        **common,
    )


def _boot_words(plan: Plan, attempt: int, digest: str, plan_digest: str) -> dict[str, str]:
    """Arguments of the boot file. They hold no secrets, and need no quoting."""
    words = {"run": plan.store.url, "attempt": str(attempt), "code": digest, "plan": plan_digest}
    if plan.store.endpoint:
        words["endpoint"] = plan.store.endpoint
    region = plan.store.region or options_of(plan).region
    if region:
        words["region"] = region
    if options_of(plan).obs_client != "auto":
        words["client"] = options_of(plan).obs_client
    return {key: value for key, value in words.items() if value}


def _channel(name: str, url: str) -> Channel:
    return Channel(name=name, remote=Remote(obs=Obs(obs_url=bucket_path(url))))


def _spec(plan: Plan, options: ModelArtsOptions, avoid: Sequence[str]) -> Spec:
    hours = math.ceil((plan.time_limit_s + LAST_HOUR_S) / 3600) if plan.time_limit_s else None
    topic, logs = options.notify_topic, options.log_export
    return Spec(
        resource=_resource(plan, options),
        volumes=tuple(map(_volume, options.volumes)) or None,
        log_export_path=Obs(obs_url=bucket_path(f"{plan.store.url}/platform-logs"))
        if options.export_logs
        else None,
        log_export_config=LogExport(version=logs.version, rotation_enabled=logs.rotation) if logs else None,
        auto_stop=Hours(duration=hours) if hours else None,
        schedule_policy=schedule_policy(options, avoid),
        notification=Notification(topic_urn=topic, events=options.notify_events) if topic else None,
        retention=Retention(policy=options.retention) if options.retention else None,
        reserved_time=Hours(duration=options.keep_hours) if options.keep_hours else None,
    )


def _resource(plan: Plan, options: ModelArtsOptions) -> Resource:
    """Whole machines of a kind, or the same part of each."""
    part = options.part
    return Resource(
        pool_id=options.pool_id,
        flavor_id=None if part else flavor(plan, options),
        node_count=plan.nodes,
        main_container_customized_flavor=Part(
            cpu_core_num=part.cpu, mem_size=part.memory, accelerator_num=part.cards
        )
        if part
        else None,
    )


def _volume(volume: Any) -> Volume:
    if volume.pfs is not None:
        return Volume(pfs=Pfs(pfs_path=volume.pfs, local_path=volume.mount))
    if volume.obs is not None:
        return Volume(obs=ObsVolume(obs_path=bucket_path(volume.obs), local_path=volume.mount))
    return Volume(
        nfs=Nfs(nfs_server_path=volume.sfs or "", local_path=volume.mount, read_only=volume.read_only)
    )
