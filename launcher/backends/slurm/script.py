"""The batch script of a run, or of the runs of a sweep as a job array. Pure: the very text that `sbatch` gets."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from launcher.backends.slurm.query import COMMENT
from launcher.jobfile.spec_slurm import SlurmOptions
from launcher.plan.model import ASCEND_DEVICES, Plan

_BASE_PACKAGES = ("pydantic", "yaml")

_LOOK = """command -v "$0" > /dev/null && exec "$0" "$@"
words="$(hostname): $0 can not be run here; slurm.python names the Python of the nodes"
echo "error: $words" >&2
scontrol update JobId="$LAUNCHER_SLURM_JOB" Comment="$LAUNCHER_COMMENT $words"
exit 78
"""
"""Starts the Python of a node, or writes an error into the job's comment when it is missing."""

_BODY = """
export LAUNCHER_BEGAN=$(date +%s)
mkdir -p "$run_dir" && rm -f "$run_dir/stop" "$run_dir/cancel.json" "$run_dir/again"
interrupted= ; ended=
trap 'interrupted=1; echo "the time limit of the allocation is near" > "$run_dir/stop"' USR1
trap 'interrupted=1; echo "{{}}" > "$run_dir/cancel.json"' USR2
trap 'interrupted=1; ended=1' TERM
{setup}
job={job}
restarts=${{SLURM_RESTART_COUNT:-0}}
export LAUNCHER_SLURM_JOB=$job LAUNCHER_COMMENT={comment}
export LAUNCHER_RUN=$run LAUNCHER_PLAN=$plan_sha256 LAUNCHER_LAUNCH_ID=$SLURM_JOB_ID.$restarts LAUNCHER_FIRST_ATTEMPT={attempt}
export LAUNCHER_EXIT=leader LAUNCHER_AGAIN=
[ "$restarts" -ge {max_requeues} ] || LAUNCHER_AGAIN=$run_dir/again
export LAUNCHER_BOOT={facts}
read -r -d '' boot <<'BOOT'
{boot}BOOT
look={look}
for pause in 1 2 4 8 15 30; do # without an answer nobody knows which devices are ours
    LAUNCHER_JOB=$(scontrol -o -d show job "$job") && break
    sleep $pause
done
export LAUNCHER_JOB
LAUNCHER_SLURM_ATTEMPT=$(bash -c "$look" "$python" -c "$boot" attempt) || exit
export LAUNCHER_SLURM_ATTEMPT

# Slurm counts the steps of each start from 0. An srun that was cut off ends its step by that number when it comes back:
# ours gets another one.
for _ in $(seq $((restarts % {step_ids}))); do srun --nodes=1 --ntasks=1 --quiet true; done
srun {srun} bash -c "$look" "$python" -c "$boot" node &
gang=$!
while :; do
    interrupted= ; wait "$gang"; code=$?
    [ -n "$interrupted" ] || break
done

# Once more? Not when somebody ended the job, nor for a job that Slurm has started again elsewhere meanwhile.
[ "$code" -lt 128 ] || [ -n "$ended" ] || [ "$restarts" -ge {max_lost} ] || : >> "$run_dir/again"
if [ -z "$ended" ] && [ -e "$run_dir/again" ] &&
    scontrol -o show job "$job" | grep -q " Restarts=$restarts "; then
    trap '' TERM
    scontrol requeue "$job" || exit "$code"
    for pause in 0 1 1 1; do
        sleep $pause
        [ ! -s "$run_dir/again" ] || scontrol update JobId="$job" ExcNodeList="$(cat "$run_dir/again"){exclude}" || continue
        break
    done
fi
exit "$code"
"""
_LOST_NODE_PROGRAMS = 3
"""Most restarts of a job whose node program was killed. It left no reason, so a restart may not help."""

_LOG, _LOG_OF_A_TASK = "/tmp/launcher-%j.log", "/tmp/launcher-%A_%a.log"  # noqa: S108 - every node has that folder

_JOB = "$SLURM_JOB_ID"
_TASK = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID # the id alone may mean all tasks"

_STEP_IDS = 8
"""Number of starts with different ids of steps."""


def render(plans: Sequence[Plan], attempt: int, *, comment: str = "") -> str:
    """One plan makes a job, several make an array with one task each. Their requests must be the same."""
    plan, options = plans[0], options_of(plans[0])
    comment = comment or COMMENT + plan.run_id
    flags = [*_flags(plan, options, comment, array=len(plans) > 1), *_array(plans, options), *options.extra]
    facts = {
        "store": plan.store.model_copy(update={"url": plan.store.url.rpartition("/")[0]}).model_dump(),
        "work_dir": plan.work_dir,
        "code": plan.code,
        "packages": [*_BASE_PACKAGES, *(["boto3"] if plan.store.url.startswith(("s3:", "obs:")) else [])],
    }
    body = _BODY.format(
        comment=shlex.quote(comment),
        attempt=attempt,
        max_requeues=options.max_requeues if options.requeue else 0,
        step_ids=_STEP_IDS,
        max_lost=min(_LOST_NODE_PROGRAMS, options.max_requeues) if options.requeue else 0,
        facts=shlex.quote(json.dumps(facts)),
        boot=Path(__file__).with_name("boot.py").read_text(),
        setup="\n".join(options.setup),
        look=shlex.quote(_LOOK),
        job=_JOB if len(plans) == 1 else _TASK,
        exclude=f",{options.exclude}" if options.exclude else "",
        srun=" ".join(_srun(plan, options)),
    )
    lines = ["#!/bin/bash", *(f"#SBATCH {flag}" for flag in flags), "", *_which(plans)]
    lines += [f"run_dir={shlex.quote(plan.work_dir)}/$run", f"python={shlex.quote(plan.python)}"]
    return "\n".join(lines) + body


def options_of(plan: Plan) -> SlurmOptions:
    """The section `slurm` of a plan for this back end."""
    assert isinstance(plan.options, SlurmOptions), "made for plans of this back end"
    return plan.options


def log_of(plan: Plan, job: str) -> str:
    """The path of `slurm.log` for a job or a task. Patterns that only the cluster can fill in stay."""
    number, _, task = job.partition("_")
    known = {"%x": plan.run_id, "%A": number, "%a": task} if task else {"%x": plan.run_id, "%j": number}
    log = options_of(plan).log or (_LOG_OF_A_TASK if task else _LOG)
    for word, value in known.items():
        log = log.replace(word, value)
    return log


def gres_of(plan: Plan) -> str:
    """What `--gres` asks for on each node; empty on CPU and where whole nodes are used."""
    name = options_of(plan).gres
    return f"{name}:{plan.devices_per_node}" if name and plan.device in ASCEND_DEVICES else ""


def _flags(plan: Plan, options: SlurmOptions, comment: str, *, array: bool) -> list[str]:
    whole = options.exclusive or (plan.device in ASCEND_DEVICES and not options.gres)
    pairs = {
        "--job-name": plan.run_id,
        "--comment": comment,
        "--partition": options.partition,
        "--account": options.account,
        "--qos": options.qos,
        "--nodes": plan.nodes,
        "--ntasks-per-node": 1,
        "--gres": gres_of(plan),
        "--cpus-per-task": options.cpus,
        "--mem": f"{math.ceil(options.memory / (1 << 20))}M" if options.memory else None,
        "--constraint": options.constraint,
        "--nodelist": options.nodelist,
        "--exclude": options.exclude,
        "--time": walltime(options.time) if options.time else None,
        "--signal": f"B:USR1@{options.stop_before}",  # also before the limit of a partition
        "--dependency": f"afterok:{':'.join(plan.after_jobs)}" if plan.after_jobs else None,
        "--kill-on-invalid-dep": "yes" if plan.after_jobs else None,
        "--output": options.log or (_LOG_OF_A_TASK if array else _LOG),
        "--open-mode": "append",
        "--chdir": "/",
        "--export": "ALL",
    }
    flags = [f"{name}={shlex.quote(str(value))}" for name, value in pairs.items() if value not in (None, "")]
    return [*flags, *(["--exclusive"] if whole else []), "--requeue" if options.requeue else "--no-requeue"]


def _array(plans: Sequence[Plan], options: SlurmOptions) -> list[str]:
    if len(plans) == 1:
        return []
    most = f"%{options.max_parallel}" if options.max_parallel else ""
    return [f"--array=0-{len(plans) - 1}{most}"]


def _which(plans: Sequence[Plan]) -> list[str]:
    """The run, and the digest that its plan must have."""
    if len(plans) == 1:
        return [f"run={shlex.quote(plans[0].run_id)} plan_sha256={plans[0].digest}"]
    names = "\n".join(f"    {shlex.quote(plan.run_id)} {plan.digest}" for plan in plans)
    first = "$((2 * SLURM_ARRAY_TASK_ID))"
    return [f"runs=(\n{names}\n)", f"run=${{runs[{first}]}} plan_sha256=${{runs[{first} + 1]}}"]


def _srun(plan: Plan, options: SlurmOptions) -> list[str]:
    """One node program per node; they pin their ranks themselves."""
    words = [f"--nodes={plan.nodes}", f"--ntasks={plan.nodes}", "--ntasks-per-node=1"]
    words += [f"--cpus-per-task={options.cpus}"] if options.cpus else []
    return [*words, "--kill-on-bad-exit=1", "--wait=0", "--cpu-bind=none", "--mpi=none", "--export=ALL"]


def walltime(seconds: int) -> str:
    """`D-HH:MM:SS`, as Slurm writes times.

    >>> walltime(90061)
    '1-01:01:01'
    """
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
