"""Jobs as Slurm reports them: one call for all, and Slurm's words mapped to launcher's.

The stable text formats of `squeue` and `sacct` are read; their JSON differs from version to version. A controller that
does not answer says nothing about a job: that is an error here, never the end of a job.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.backends.slurm.reasons import TOO_LARGE, words_of
from launcher.errors import BackendError

TIMEOUT_S = 30.0
_HEARD = re.compile(r"(SBATCH|SQUEUE|SINFO|SACCT|SCANCEL|SCONTROL|SRUN|SLURMD?)_")
_OF_A_MACHINE = re.compile(r"(RANK_(ID|SIZE|TABLE_FILE)|(ASCEND_)?DEVICE_ID|ASCEND_(RT_)?VISIBLE_DEVICES)$")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS")
COMMENT = "launcher:"
"""Begins the comment of a job, before the run id. Slurm uses ids of jobs again; the comment identifies the run."""
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
RUNNING = (
    "RUNNING",
    "COMPLETING",
    "CONFIGURING",
    "RESIZING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
)
ENDED = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "REVOKED",
)

_FORMAT = "%i|%T|%r|%N|%D|%P|%j|%k"
_SACCT = "JobID,State,NodeList,Comment,JobName"

END_RULES = {
    "TIMEOUT": "platform-end",
    "DEADLINE": "platform-end",
    "PREEMPTED": "platform-end",
    "OUT_OF_MEMORY": "host-memory",
}
"""The kind of an end in advice.yaml, by the state of the job."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job, or a task of an array."""

    id: str
    state: str
    reason: str
    nodes: str
    count: int
    partition: str
    comment: str
    name: str = ""

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def is_of(self, comment: str) -> bool:
        """Whether it is the job with this comment, and not another one that got its id later.

        A site may change the comment or the name: one of both is enough, unless the comment is that of another run.
        """
        return is_of(self.name, self.comment, comment)

    def boot_error(self, comment: str) -> str:
        """What a node has added to our comment: an error before the run began."""
        return self.comment.partition(comment)[2].strip() if comment in self.comment.split() else ""


def is_of(name: str, comment: str, wanted: str) -> bool:
    """Whether a job of this name and comment belongs to the run whose comment is `wanted`."""
    ours = [word for word in comment.split() if word.startswith(COMMENT)]
    return wanted in ours if ours else COMMENT + name == wanted


class NotInstalled(BackendError):
    """A command of Slurm is not on this machine."""


class NoAnswer(BackendError):
    """A command of Slurm did not end in time; it may have had its effect."""


class CommandFailed(BackendError):
    """A command of Slurm ended with an error. `stderr` is what it printed, in Slurm's own words."""

    def __init__(self, command: str, code: int, stderr: str) -> None:
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        words = "; ".join(dict.fromkeys(line.partition("error: ")[2] or line for line in lines))
        super().__init__(words or f"exit code {code}", where=command)
        self.stderr = stderr

    @property
    def unknown_job(self) -> bool:
        """Slurm has no record of the job, no longer or not yet."""
        return "Invalid job id" in self.stderr

    @property
    def in_doubt(self) -> bool:
        """The controller did not answer the command in time; the command may have had its effect."""
        return "timed out" in self.stderr


def clean(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without two kinds of variables: those that change what Slurm's commands do, such as SBATCH_EXPORT or
    SQUEUE_USERS, and those that describe this machine or its allocation, which a job would inherit.
    """
    foreign = (_HEARD, _OF_A_MACHINE)
    return {
        name: value
        for name, value in env.items()
        if name in _KEPT or not any(each.match(name) for each in foreign)
    }


def call(*command: str, stdin: str = "") -> str:
    """What a command of Slurm prints. Raises NotInstalled, NoAnswer or CommandFailed."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            env=clean(os.environ),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise NotInstalled(
            f"{command[0]} is not installed here", hint="submit from a machine of the Slurm cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer within {TIMEOUT_S:g} s", where=command[0]) from None
    if done.returncode:
        raise CommandFailed(command[0], done.returncode, done.stderr)
    return done.stdout


def look_up(ids: Sequence[str]) -> dict[str, Job]:
    """The jobs that Slurm still knows, by id. Raises BackendError when it does not answer."""
    if not ids:
        return {}
    try:
        text = call("squeue", "-h", "-a", "-r", "-t", "all", "-j", ",".join(ids), "-o", _FORMAT)
    except CommandFailed as error:
        if not error.unknown_job:
            raise
        text = ""
    jobs = {job.id: job for job in map(parse_job, text.splitlines()) if job}
    missing = [each for each in ids if each not in jobs]
    return {**(accounted(missing) if missing else {}), **jobs}


def parse_job(line: str) -> Job | None:
    """A line of `squeue`; None for anything else. Without a comment, as some sites leave it, the job's name makes one."""
    fields = line.split("|", 7)
    if len(fields) != 8:
        return None
    number, state, reason, nodes, count, partition, name, comment = fields
    count = count if count.isdecimal() else "0"
    comment = COMMENT + name if comment in ("", "(null)") else comment
    return Job(number, state, reason, nodes, int(count), partition, comment, name)


def parse_accounted(line: str) -> Job | None:
    """A line of `sacct -P`. `CANCELLED by UID` is a state, too. Clusters seldom keep comments: the name then makes one."""
    fields = line.split("|", 4)
    if len(fields) < 4 or not fields[1]:
        return None
    number, state, nodes, *comments, name = fields
    comment = next((each for each in comments if each), COMMENT + name)
    return Job(number, state.split()[0], "", nodes, 0, "", comment, name)


def accounted(ids: Sequence[str]) -> dict[str, Job]:
    """Jobs that the controller has forgotten, from the accounting or the log of completed jobs, where there is one."""
    options = ["-n", "-P", "-j", ",".join(ids), "-o", _SACCT]
    text = ""
    for how in (["-X"], ["-c"]):
        with contextlib.suppress(BackendError):
            text = call("sacct", *how, *options)
            break
    return {job.id: job for job in map(parse_accounted, text.splitlines()) if job and job.id in ids}


def waiting_words(job: Job, nodes_of: Mapping[str, int]) -> str:
    """Why a job waits. `nodes_of` has the number of nodes of partitions."""
    if job.reason in TOO_LARGE:
        have = nodes_of.get(job.partition)
        if have is not None and job.count > have:
            return f"will never start: asks for {job.count} of {have} nodes of partition {job.partition}"
        return f"will never start as it is: partition {job.partition} does not allow it"
    words = words_of(job.reason)
    if words and "UnavailableNodes" in job.reason:
        return f"{words}: {job.reason.partition('UnavailableNodes:')[2]}"
    if job.reason in ("", "None"):
        return "waits to be looked at by the scheduler"
    return words or job.reason


def first_node(nodes: str) -> str:
    """The first name of a list of Slurm.

    >>> first_node("node[03-04,7],login")
    'node03'
    """
    match = re.match(r"([^\[,]*)(?:\[(\d+))?", nodes)
    return f"{match[1]}{match[2] or ''}" if match else nodes


def cluster_name() -> str:
    """The cluster that the commands here talk to; '' when nobody answers."""
    with contextlib.suppress(BackendError):
        match = re.search(r"^ClusterName\s*=\s*(\S+)", call("scontrol", "show", "config"), re.MULTILINE)
        return match[1] if match else ""
    return ""


def partition_nodes() -> dict[str, int]:
    """The number of nodes of each partition; empty when the controller does not answer."""
    try:
        text = call("sinfo", "-h", "-a", "-o", "%R|%D")
    except BackendError:
        return {}
    nodes: dict[str, int] = {}
    for line in text.splitlines():
        name, _, count = line.partition("|")
        nodes[name] = nodes.get(name, 0) + (int(count) if count.isdecimal() else 0)
    return nodes
