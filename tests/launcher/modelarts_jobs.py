"""Jobs for ModelArts as tests need them: plans without a service, and the SDK's own idea of a request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from launcher.plan import Plan
from launcher.submission import prepare

IMAGE = {"region": "cn-north-4", "image": "org/launcher:1", "pool_id": "pool-x"}


def write_job(folder: Path, *, modelarts: dict[str, Any] | None = None, **sections: Any) -> Path:
    """A job of two machines with eight cards each, and whatever a test wants to differ."""
    job: dict[str, Any] = {
        "name": "tnt",
        "program": ["python", "-m", "mine"],
        "resources": {
            "backend": "modelarts",
            "device": "ascend910",
            "nodes": 2,
            "devices_per_node": 8,
            "time_limit": "23h",
        },
        "output": {"url": "obs://bucket/runs"},
        "retry": {"max_restarts": 3},
        "modelarts": IMAGE if modelarts is None else modelarts,
    }
    for key, value in sections.items():
        merged = isinstance(value, dict) and isinstance(job.get(key), dict)
        job[key] = {**job[key], **value} if merged else value
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def make(folder: Path, **sections: Any) -> Plan:
    return prepare(write_job(folder, **sections), cwd=folder).plan


def as_sdk(type_name: str, value: Any) -> Any:
    """`value` as the SDK's own class, field by field. Fails for a field or a type that the class does not have."""
    import huaweicloudsdkmodelarts.v1 as sdk

    if match := re.fullmatch(r"list\[(.*)\]", type_name):
        assert isinstance(value, list), f"{type_name}: {value!r}"
        return [as_sdk(match[1], item) for item in value]
    if match := re.fullmatch(r"dict\(str, (.*)\)", type_name):
        assert isinstance(value, dict), f"{type_name}: {value!r}"
        return {key: as_sdk(match[1], item) for key, item in value.items()}
    plain = {"str": str, "int": int, "bool": bool, "float": float}.get(type_name)
    if plain is not None:
        assert type(value) is plain, f"{type_name}: {value!r}"
        return value
    model = getattr(sdk, type_name)
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    unknown = set(value) - set(names)
    assert not unknown, f"{type_name} has no {sorted(unknown)}"
    fields = {names[key]: as_sdk(model.openapi_types[names[key]], item) for key, item in value.items()}
    return model(**fields)


def round_trip(type_name: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the SDK itself would send for the body, through its own classes."""
    from huaweicloudsdkcore.utils.http_utils import sanitize_for_serialization

    sent: dict[str, Any] = sanitize_for_serialization(as_sdk(type_name, body))
    return sent
