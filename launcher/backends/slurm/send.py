"""Send a script to the controller, and map its refusals to fields of the job file."""

from __future__ import annotations

import re

from launcher.backends.slurm.query import CommandFailed, NoAnswer, call
from launcher.errors import BackendError

_REFUSALS = {
    "invalid account": "slurm.account must be one of yours, and one that this partition takes",
    "invalid qos": "slurm.qos must be one that your account has",
    "policy limit": "the account or its quality of service has a limit below what resources and slurm ask for",
    "invalid partition": "slurm.partition must be one that `sinfo` names",
    "invalid feature": "slurm.constraint must name features that nodes have: `sinfo -o '%N %f'`",
    "invalid node name": "slurm.nodelist or slurm.exclude names a node that the cluster does not have",
    "node configuration is not available": "no nodes have all of it: look at resources.nodes, and at cpus, memory, gres, "
    "constraint, nodelist and exclude in slurm",
    "node count": "resources.nodes does not go with slurm.nodelist, or with the partition",
    "time limit": "slurm.time is not what the partition or the account allows",
    "dependency": "a run of slurm.after is not known to Slurm any more",
    "generic resource": "slurm.gres must be named as the cluster does, with its type: `sinfo -o '%N %G'`",
    "memory": "slurm.memory is not what the partition allows",
    "reservation": "the reservation in slurm.extra is not there, or not yours",
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
        refusal = error.stderr.lower()
        error.hint = next((hint for words, hint in _REFUSALS.items() if words in refusal), "")
        raise
    if match := re.search(r"^(\d+)(;\S+)?$", answer, re.MULTILINE):
        return match[1]
    raise BackendError(f"no number of a job in its answer: '{answer.strip()}'", where="sbatch")


def _by_name(name: str) -> str:
    """The newest job of this name that has not ended; '' for none, or no answer."""
    try:
        lines = call("squeue", "-h", "-a", "-n", name, "-o", "%F").split()
    except BackendError:
        return ""
    return max(lines, key=int, default="")
