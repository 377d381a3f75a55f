"""Values of a plan as the service takes them: variables of a container, kind of machine, paths in a bucket."""

from __future__ import annotations

from urllib.parse import urlsplit

from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.plan.model import ASCEND_DEVICES, Plan

POOL_FLAVORS = {
    1: "modelarts.pool.visual.xlarge",
    2: "modelarts.pool.visual.2xlarge",
    4: "modelarts.pool.visual.4xlarge",
    8: "modelarts.pool.visual.8xlarge",
    16: "modelarts.pool.visual.16xlarge",
}
REGIONS = (
    *("af-north-1", "af-south-1", "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4"),
    *("cn-east-3", "cn-east-4", "cn-north-1", "cn-north-2", "cn-north-4", "cn-north-9", "cn-north-11"),
    *("cn-north-12", "cn-south-1", "cn-southwest-2", "cn-southwest-3", "eu-west-101", "la-north-2"),
    *("la-south-2", "me-east-1", "sa-brazil-1", "tr-west-1"),
)
"""Regions with the service; those of the SDK, and the European one, which it lacks."""
_OURS = ("LAUNCHER_", "RANK_", "MS_", "JOB_ID", "MASTER_", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def environments(plan: Plan) -> dict[str, str]:
    """Variables of the container itself. What tells a rank who it is comes later, from the node program."""
    return {
        key: value
        for key, value in plan.env.items()
        if not key.startswith(_OURS) and "{" not in value and not key.startswith("OMP_")
    }


def flavor(plan: Plan, options: ModelArtsOptions) -> str | None:
    """The kind of machine: as given, or in a dedicated pool of NPUs by the number of cards."""
    if options.flavor or not options.pool_id or plan.device not in ASCEND_DEVICES:
        return options.flavor
    return POOL_FLAVORS.get(plan.devices_per_node)


def bucket_path(url: str) -> str:
    """`obs://bucket/a` as the service writes it: `/bucket/a/`."""
    parts = urlsplit(url)
    return f"/{parts.netloc}/{parts.path.strip('/')}/".replace("//", "/")
