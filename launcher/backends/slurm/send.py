"""Send a script to the controller, and map its refusals to fields of the job file."""

from __future__ import annotations

import os
import re

from launcher.backends.slurm.query import COMMENT, CommandFailed, NoAnswer, call, is_of
from launcher.backends.slurm.reasons import limit_words
from launcher.errors import BackendError

_REFUSALS = {
    "submitjob": "you or your account have as many jobs in the queue as allowed: wait until some have ended, or cancel some",
    "invalid account": "slurm.account must be one of yours, and one that this partition takes",
    "invalid qos": "slurm.qos must be one that your account has",
    "qos usage threshold": "your account has used more than slurm.qos allows: name another one, or wait",
    "qos policy": "the account or its quality of service limits jobs in the queue, their size or their time; "
    "`sacctmgr show assoc user=$USER` and `sacctmgr show qos` print the limits",
    "group not permitted": "slurm.partition is for other groups: `scontrol show partition` names them; choose another one",
    "partition not available": "slurm.partition is inactive or drained: name another one that `sinfo` shows as up",
    "partition configuration": "slurm.partition does not allow this now: compare resources.nodes and slurm.time with `sinfo`",
    "invalid partition": "slurm.partition must be one that `sinfo` names",
    "nodes not in this partition": "slurm.nodelist names nodes of another partition than slurm.partition",
    "required node not available": "a node of slurm.nodelist is down, drained or reserved: `sinfo -R` says why",
    "invalid feature": "slurm.constraint must name features that nodes have: `sinfo -o '%N %f'`",
    "invalid node name": "slurm.nodelist or slurm.exclude names a node that the cluster does not have",
    "node configuration is not available": "no nodes have all of it: look at resources.nodes, and at cpus, memory, gres, "
    "constraint, nodelist and exclude in slurm",
    "node count": "resources.nodes does not go with slurm.nodelist, or with the partition",
    "processors": "slurm.cpus is more than a node or the partition has: `sinfo -o '%N %c'`",
    "time limit": "slurm.time is not what the partition or the account allows",
    "dependency": "a run of slurm.after is not known to Slurm any more",
    "gres option": "slurm.extra has a flag on generic resources that this cluster can't use",
    "generic resource": "slurm.gres must be named as the cluster does, with its type: `sinfo -o '%N %G'`",
    "license": "slurm.extra asks for a licence that the cluster does not have, or not so many: `scontrol show lic`",
    "job array": "the sweep has more runs than an array may have (MaxArraySize of `scontrol show config`): make it smaller; "
    "slurm.max_parallel limits only how many run at a time",
    "wckey": "slurm.extra needs a --wckey that your account has",
    "memory": "slurm.memory is not what the partition allows",
    "reservation": "the reservation in slurm.extra is not there, not yours, or not usable now",
    "unable to contact": "the controller of Slurm is away: `scontrol ping` shows whether it is back; then submit again",
    "presently disabled": "the administrators have stopped submits for now; try later",
    "permission denied": "your user may not do this on this cluster: ask its administrators for an account",
    "option": "slurm.extra has a flag that this sbatch does not know",
}
"""Words of a refusal in lower case, and what to do. The first match counts."""


def send(script: str, name: str) -> str:
    """The id of the new job. When sbatch timed out, the controller may have taken the job: it is looked up by its name."""
    try:
        answer = call("sbatch", "--parsable", stdin=script)
    except NoAnswer:
        if job_id := _by_name(name):
            return job_id
        raise
    except CommandFailed as error:
        if error.in_doubt and (job_id := _by_name(name)):
            return job_id
        error.hint = _hint(error.stderr)
        raise
    if match := re.search(r"^(\d+)(;\S+)?$", answer, re.MULTILINE):
        return match[1]
    raise BackendError(f"no number of a job in its answer: '{answer.strip()}'", where="sbatch")


def _hint(refusal: str) -> str:
    """What to do about a refusal: by the limit that it names, else by its words."""
    lowered = refusal.lower()
    if "submitjob" not in lowered:
        limits = (limit_words(word) for word in re.findall(r"\b(?:QOS|Assoc)[A-Z]\w+", refusal))
        if words := next(filter(None, limits), ""):
            return words
    return next((hint for words, hint in _REFUSALS.items() if words in lowered), "")


def _by_name(name: str) -> str:
    """The newest job of this name or comment that has not ended; '' for none, or no answer."""
    try:
        lines = call("squeue", "-h", "-a", "-u", str(os.getuid()), "-o", "%F|%j|%k").splitlines()
    except BackendError:
        return ""
    jobs = [line.split("|", 2) for line in lines if line.count("|") >= 2]
    return max((job for job, *of in jobs if is_of(of[0], of[1], COMMENT + name)), key=int, default="")
