"""What `submit --dry-run` prints: the very plan, rank table and request that `submit` would use."""

from __future__ import annotations

import json
import shlex
from typing import Any

from launcher.plan.model import Arithmetic, Plan
from launcher.submission.prepare import Prepared
from launcher.units import show_bytes, show_duration
from vitmodels.secrets import mask, mask_values

MAX_RANKS_SHOWN = 16
_STARTED = {"all": "every rank", "first": "rank 0", "nodes": "every machine, once"}


def dry_run_json(job: Prepared) -> dict[str, Any]:
    return {
        "run_id": job.plan.run_id,
        "backend": job.plan.backend,
        "url": job.plan.store.url,
        "plan": mask_values(job.plan.model_dump(mode="json")),
        "rank_table": json.loads(job.rank_table) if job.rank_table else None,
        "request": mask(job.request),
        "findings": [finding.to_dict() for finding in job.findings],
        "origins": {key: str(origin) for key, origin in job.job.origins.items()},
    }


def dry_run_text(job: Prepared) -> str:
    plan = job.plan
    sections = [
        _section("job", _job_lines(plan)),
        _section("arithmetic", _arithmetic_lines(plan.arithmetic) if plan.arithmetic else []),
        _section(
            "findings", [line for finding in job.findings for line in str(finding).splitlines()] or ["none"]
        ),
        _section("environment of every rank", [f"{key}={value}" for key, value in sorted(plan.env.items())]),
        _section("environment per rank", _rank_lines(plan)),
        _section("programs", _program_lines(plan)),
        _section(
            "rank table (addresses are placeholders until the job is on its machines)",
            (job.rank_table or "").splitlines(),
        ),
        _section(f"request to the back end '{plan.backend}'", job.request.splitlines()),
        _section("notes", list(plan.notes)),
        "dry run: nothing was started, nothing was written",
    ]
    return mask("\n\n".join(section for section in sections if section))


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""


def _job_lines(plan: Plan) -> list[str]:
    pairs = [
        ("run id", f"{plan.run_id} (a submit gets one of its own)"),
        ("task", plan.task),
        ("arch", str(plan.recipe.get("arch", ""))),
        (
            "devices",
            f"{plan.nodes} node(s) × {plan.devices_per_node} {plan.device}, {plan.world_size} rank(s)",
        ),
        ("data", plan.data.url if plan.data else "none"),
        ("staged to", f"{plan.cache_dir} on each node"),
        ("results", plan.store.url),
        ("run directory", plan.run_dir.root.as_posix()),
        ("time limit", show_duration(plan.time_limit_s) if plan.time_limit_s else "none"),
        ("restarts", str(plan.retry.max_restarts)),
    ]
    return [f"{label:<14} {text}" for label, text in pairs if text]


def _arithmetic_lines(numbers: Arithmetic) -> list[str]:
    if numbers.steps_per_epoch:
        per_epoch = f"{numbers.steps_per_epoch} steps per epoch from {numbers.train_images} images, {numbers.steps} steps in {numbers.epochs} epochs"
    else:
        per_epoch = f"{numbers.epochs} epochs; steps are known after staging (or give data.train_images)"
    return [
        f"{numbers.batch_per_rank} images per rank × {numbers.world_size} ranks = global batch {numbers.global_batch}, equal on every rank",
        per_epoch,
        f"peak learning rate {numbers.learning_rate:g}",
        f"{numbers.parameters:,} parameters; a checkpoint is about {show_bytes(numbers.checkpoint_bytes)}, {numbers.keep_checkpoints} are kept",
    ]


def _rank_lines(plan: Plan) -> list[str]:
    lines = [
        f"rank {r.rank} (node {r.node}): {shlex.join(f'{k}={v}' for k, v in sorted(r.env.items()))}"
        for r in plan.ranks[:MAX_RANKS_SHOWN]
    ]
    more = len(plan.ranks) - len(lines)
    return [*lines, f"… and {more} more ranks (all of them with --json)"] if more > 0 else lines


def _program_lines(plan: Plan) -> list[str]:
    lines = []
    for step in plan.steps:
        lines.append(f"{step.name}, on {_STARTED[step.ranks]}:")
        lines.append(f"  {shlex.join(step.argv)}")
        if step.resume_args:
            lines.append(f"  and, when there is a checkpoint: {' '.join(step.resume_args)}")
    return lines
