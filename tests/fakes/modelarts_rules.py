"""What the fake ModelArts refuses: required fields and limits of a job, with the documented codes."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.modelarts_wire import as_sdk, bad

MOST_NODES = 16
FLAVORS = {
    **{f"modelarts.pool.visual.{n}xlarge".replace(".1x", ".x"): n for n in (1, 2, 4, 8, 16)},
    "modelarts.vm.cpu.8u": 0,
}
USERS = ("MA_DETECT_TRAIN_INJECT_CODE", "MA_HANG_DETECT_TIME", "MA_RUN_METHOD")
"""Variables with MA_ that a job may set."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PATH = re.compile(r"/[^/]+/.*")


def check_job(body: Any) -> None:
    """Raises Refused."""
    if not isinstance(body, dict):
        raise bad("2787", "the body is no JSON object")
    try:
        as_sdk("Job", body)
    except ValueError as error:
        raise bad("2788", f"invalid parameter: {error}") from None
    metadata, algorithm, spec = body.get("metadata", {}), body.get("algorithm", {}), body.get("spec", {})
    if not _NAME.fullmatch(metadata.get("name", "")):
        raise bad("2788", "invalid parameter: metadata.name")
    if len(metadata.get("description", "")) > 256:
        raise bad("2788", "invalid parameter: metadata.description")
    _check_annotations(metadata.get("annotations", {}))
    _check_algorithm(algorithm)
    _check_spec(spec)


def _check_annotations(annotations: dict[str, str]) -> None:
    for key in ("job-retry-num", "pod-retry-num"):
        text = annotations.get(f"fault-tolerance/{key}", "1")
        if not text.isdecimal() or not 1 <= int(text) <= 128:
            raise bad("2788", f"invalid parameter: annotation {key}")


def _check_algorithm(algorithm: dict[str, Any]) -> None:
    engine = algorithm.get("engine", {})
    ways = [bool(engine.get("image_url")), bool(engine.get("engine_name") and engine.get("engine_version"))]
    if not any(ways):
        raise bad("2780", "invalid engine: image_url, or engine_name with engine_version, or all of them")
    if engine.get("install_sys_packages") is not None and not all(ways):
        raise bad("2788", "invalid parameter: install_sys_packages needs engine and image")
    code = algorithm.get("code_dir", "")
    if code and not (_PATH.fullmatch(code) and code.endswith("/")):
        raise bad("2757", f"invalid code directory {code}")
    if ways[0] and not ways[1] and not algorithm.get("command"):
        raise bad("2806", "Custom image jobs command and engine.url cannot be empty.")
    boot = algorithm.get("boot_file", "")
    if ways[1] and not (boot.startswith(code) and boot.endswith(".py")):
        raise bad("2758", f"invalid boot file {boot}")
    environments = algorithm.get("environments", {})
    if len(environments) > 100:
        raise bad("2788", "invalid parameter: more than 100 environments")
    for key, value in environments.items():
        if (
            len(key) > 8192
            or len(value) > 4096
            or "$" in value
            or (key.startswith("MA_") and key not in USERS)
        ):
            raise bad("2788", f"invalid parameter: environments.{key[:50]}")
    names = [each.get("name", "") for kind in ("inputs", "outputs") for each in algorithm.get(kind, [])]
    if len(set(names)) != len(names) or not all(
        re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", n) for n in names
    ):
        raise bad("2753", "invalid channel name")
    for kind in ("inputs", "outputs"):
        for each in algorithm.get(kind, []):
            if not _PATH.fullmatch(each.get("remote", {}).get("obs", {}).get("obs_url", "")):
                raise bad("2791", f"invalid OBS path of channel {each.get('name')}")


def _check_spec(spec: dict[str, Any]) -> None:
    resource = spec.get("resource", {})
    if not 1 <= resource.get("node_count", 0) <= MOST_NODES:
        raise bad("2793", f"node count {resource.get('node_count')}, at most {MOST_NODES}")
    if resource.get("pool_id") and resource.get("flavor_id") in ("modelarts.vm.cpu.8u",):
        raise bad("2763", "a dedicated pool of CPU machines takes no flavor")
    if resource.get("flavor_id") not in FLAVORS and not (
        resource.get("pool_id") and "flavor_id" not in resource
    ):
        raise bad("2763", f"flavor {resource.get('flavor_id')} does not exist")
    if spec.get("volumes") and not resource.get("pool_id"):
        raise bad("2788", "invalid parameter: volumes need a pool")
    group = spec.get("schedule_policy", {}).get("required_affinity", {}).get("affinity_group_size")
    if group and resource["node_count"] % group:
        raise bad("2788", "invalid parameter: node_count is no multiple of affinity_group_size")
    stop = spec.get("auto_stop")
    if stop is not None and (stop.get("time_unit") != "HOURS" or stop.get("duration", 0) < 1):
        raise bad("2788", "invalid parameter: auto_stop")
    log = spec.get("log_export_path", {}).get("obs_url")
    if log is not None and not _PATH.fullmatch(log):
        raise bad("2791", f"invalid OBS path {log}")
    priority = spec.get("schedule_policy", {}).get("priority")
    if priority is not None and not (1 <= priority <= 3 and resource.get("pool_id")):
        raise bad("2788", "invalid parameter: priority")


def check_code(keys: dict[str, int], code: str) -> None:
    """The code folder as it is in the bucket: sizes by key below it."""
    if not keys:
        raise bad("2757", f"code directory {code} does not exist")
    if len(keys) > 1000:
        raise bad("2759", f"{len(keys)} code files")
    if max(key.count("/") for key in keys) > 32:
        raise bad("2760", "code files too deep")
    if sum(keys.values()) > 5 << 30:
        raise bad("2761", "code too large")
