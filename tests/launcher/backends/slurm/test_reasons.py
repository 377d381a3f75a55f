"""Slurm's words for people: reasons of waiting, refusals, and times as Slurm writes them. The words are those of Slurm 22.05."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backends.base import Handle
from launcher.backends.slurm import send as sending
from launcher.backends.slurm.backend import life_of
from launcher.backends.slurm.query import CommandFailed, Job, NoAnswer, parse_accounted, parse_job
from launcher.backends.slurm.reasons import words_of
from launcher.jobfile.load import JobFileError, load_job

HANDLE = Handle(backend="slurm", data={"job": "17", "comment": "launcher:run-1"})
NEVER = "will never start"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            "QOSMaxNodePerJobLimit",
            f"{NEVER}: its quality of service allows a job fewer nodes (resources.nodes)",
        ),
        (
            "QOSMaxWallDurationPerJobLimit",
            f"{NEVER}: its quality of service allows a job less time (slurm.time)",
        ),
        (
            "QOSMaxCpuPerNode",
            f"{NEVER}: its quality of service allows a node of a job fewer CPUs (slurm.cpus)",
        ),
        ("AssocMaxMemPerJob", f"{NEVER}: its account allows a job less memory (slurm.memory)"),
        (
            "AssocMaxCpuMinutesPerJobLimit",
            f"{NEVER}: its account allows a job fewer CPU minutes (slurm.cpus)",
        ),
        (
            "QOSMinCpuNotSatisfied",
            f"{NEVER}: its quality of service wants a job to have more CPUs (slurm.cpus)",
        ),
        ("AssocMaxJobsLimit", "waits for other jobs of yours to end: its account limits their jobs"),
        (
            "QOSMaxJobsPerUserLimit",
            "waits for other jobs of yours to end: its quality of service limits their jobs",
        ),
        (
            "QOSMaxGRESPerUser",
            "waits for other jobs of yours to end: its quality of service limits their NPUs",
        ),
        ("AssocGrpNodeLimit", "waits for other jobs of its account to end: its account limits their nodes"),
        ("QOSGrpCpuLimit", "waits for other jobs of its quality of service to end"),
        ("AssocGrpCPUMinutesLimit", "waits: its account has used all the CPU minutes"),
        ("AssocGrpCPURunMinutesLimit", "waits: its account has used all the CPU minutes"),
        ("AssocGrpWallLimit", "waits: its account has used all the time"),
        ("AccountNotAllowed", f"{NEVER}: the partition does not take this account"),
        ("ReqNodeNotAvail, Reserved for maintenance", "reserved for maintenance"),
        (
            "(Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions)",
            "are down",
        ),
        ("NodeDown", "waits: a node that it needs is down"),
        ("SomethingNew", ""),
        ("QOSish", ""),
    ],
)
def test_reasons(reason: str, words: str) -> None:
    found = words_of(reason.strip("()"))
    assert words in found
    assert bool(found) is bool(words)


def test_every_limit_of_slurm_has_words() -> None:
    for reason in (Path(__file__).with_name("limits.txt")).read_text().split():
        words = words_of(reason)
        assert words.startswith(("waits", NEVER)), reason
        if "PerJob" in reason or "Min" in reason.partition("Minutes")[0][:7]:
            assert words.startswith(NEVER), reason


def test_a_reason_that_stayed_from_waiting_is_not_why_a_job_ended() -> None:
    ended = Job("17", "COMPLETED", "QOSMaxJobsPerUserLimit", "node1", 1, "main", "launcher:run-1")
    assert "QOSMax" not in life_of(HANDLE, ended, {}).detail
    lost = Job("17", "NODE_FAIL", "NodeDown", "node1", 1, "main", "launcher:run-1")
    assert "a node was lost" in life_of(HANDLE, lost, {}).detail


@pytest.mark.parametrize(
    ("name", "comment", "ours"),
    [
        ("run-1", "site=a;user=b", True),  # the site wrote its own comment
        ("lab.run-1", "launcher:run-1", True),  # the site changed the name
        ("lab.run-1", "site=a launcher:run-1 node1: no room", True),
        ("run-1", "(null)", True),
        ("lab.run-1", "(null)", False),
        ("run-1", "launcher:run-12", False),  # the comment of another run counts more than the name
        ("run-1", "launcher:run-2 x", False),
        ("run-12", "launcher:run-12", False),
        ("wrap", "site=a", False),
    ],
)
def test_a_job_is_known_by_name_or_comment(name: str, comment: str, ours: bool) -> None:
    found = parse_job(f"17|RUNNING|None|node1|1|main|{name}|{comment}")
    assert found is not None
    assert found.is_of("launcher:run-1") is ours


def test_an_error_of_a_node_is_found_behind_what_a_site_wrote() -> None:
    found = parse_job("17|FAILED|None|node1|1|main|x|site=a launcher:run-1 node1: no room")
    assert found is not None
    assert found.boot_error("launcher:run-1") == "node1: no room"
    foreign = parse_job("17|FAILED|None|node1|1|main|run-1|site=a")
    assert foreign is not None
    assert foreign.boot_error("launcher:run-1") == ""


def test_accounts_know_a_job_by_its_comment_too() -> None:
    found = parse_accounted("17|COMPLETED|node1|launcher:run-1|lab.run-1")
    assert found is not None
    assert found.is_of("launcher:run-1")
    found = parse_accounted("17|COMPLETED|node1||run-1")
    assert found is not None
    assert found.is_of("launcher:run-1")


REFUSALS = [
    (
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "the account or its quality of service",
    ),
    (
        "QOSMaxSubmitJobPerUserLimit\nsbatch: error: Job violates accounting/QOS policy (job submit limit, time limits)",
        "as many jobs in the queue as",
    ),
    ("AssocMaxSubmitJobLimit", "as many jobs in the queue as"),
    ("AssocGrpSubmitJobsLimit", "as many jobs in the queue as"),
    ("QOSMaxWallDurationPerJobLimit", "slurm.time"),
    ("QOSMaxNodePerJobLimit", "resources.nodes"),
    ("QOSMaxCpuPerUserLimit", "its quality of service limits their CPUs"),
    ("Requested time limit is invalid (missing or exceeds some limit)", "slurm.time"),
    ("Invalid account or account/partition combination specified", "slurm.account"),
    ("Invalid license specification", "licence"),
    ("Invalid job array specification", "slurm.max_parallel"),
    ("User's group not permitted to use this partition", "slurm.partition"),
    ("More processors requested than permitted", "slurm.cpus"),
    ("Requested more tasks than available processors", "slurm.cpus"),
    ("Unable to contact slurm controller (connect failure)", "controller"),
    ("Requested operation is presently disabled", "administrators"),
    ("Access/permission denied", "may not"),
    ("Invalid wckey specification", "--wckey"),
    ("Memory required by task is not available", "slurm.memory"),
    ("Requested reservation is invalid", "reservation"),
    ("Access denied to requested reservation", "reservation"),
    ("Required partition not available (inactive or drain)", "slurm.partition"),
    ("Required node not available (down, drained or reserved)", "slurm.nodelist"),
    ("Requested nodes not in this partition", "slurm.nodelist"),
    ("Requested account has breached requested QOS usage threshold", "slurm.qos"),
]


@pytest.mark.parametrize(("refusal", "hint"), REFUSALS)
def test_a_refusal_names_the_field(monkeypatch: pytest.MonkeyPatch, refusal: str, hint: str) -> None:
    def refuse(*command: str, stdin: str = "") -> str:
        raise CommandFailed("sbatch", 1, f"sbatch: error: {refusal}\n")

    monkeypatch.setattr(sending, "call", refuse)
    with pytest.raises(CommandFailed) as caught:
        sending.send("", "run-1")
    assert hint in caught.value.hint
    if "time" not in refusal.partition("(")[0].lower() and "Wall" not in refusal:
        assert not caught.value.hint.startswith("slurm.time")


@pytest.mark.parametrize("line", ["41|lab.run-1|launcher:run-1", "41|run-1|site=a", "41|run-1|(null)"])
def test_a_job_that_was_sent_without_an_answer_is_found(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    def call(*command: str, stdin: str = "") -> str:
        if command[0] == "sbatch":
            raise NoAnswer("no answer within 30 s", where="sbatch")
        return f"40|wrap|(null)\n{line}\n42|run-1|launcher:run-2\n"

    monkeypatch.setattr(sending, "call", call)
    assert sending.send("", "run-1") == "41"


def seconds_of(folder: Path, field: str, text: str) -> int | None:
    (folder / "job.yaml").write_text(
        f"name: a\nmodel: {{arch: tnt_digits}}\ndata: {{url: d}}\nslurm: {{{field}: {text}}}\n"
    )
    value = getattr(load_job(folder / "job.yaml", env={}).spec.slurm, field)
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2-0", 2 * 86400),
        ("2-12", 2 * 86400 + 12 * 3600),
        ("1-12:30", 86400 + 12 * 3600 + 30 * 60),
        ("1-12:00:30", 86400 + 12 * 3600 + 30),
        ("0:30:00", 1800),
        ("30min", 1800),
    ],
)
def test_times_are_read_as_slurm_reads_them(tmp_path: Path, text: str, seconds: int) -> None:
    assert seconds_of(tmp_path, "time", text) == seconds


@pytest.mark.parametrize("field", ["time", "stop_before"])
@pytest.mark.parametrize(
    ("text", "forms"), [("30:00", "30min or 30:00:00"), ("'90:30'", "90min30s or 90:30:00")]
)
def test_a_time_that_slurm_reads_in_minutes_is_refused(
    tmp_path: Path, field: str, text: str, forms: str
) -> None:
    with pytest.raises(JobFileError) as caught:
        seconds_of(tmp_path, field, text)
    assert f"slurm.{field}" in str(caught.value)
    assert f"write {forms}" in str(caught.value)
