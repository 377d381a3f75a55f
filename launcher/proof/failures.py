"""An export that only NPUs can do, and an error that is made on purpose: its CANN logs must reach the run's folder."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.proof.bench import Bench
from launcher.proof.model import Proof, not_shown
from launcher.runfolder.states import State

LIMIT_S = 90.0
PLOGS = "logs/attempt-1/node-0/plog/"


def prove_air(bench: Bench) -> Iterator[Proof]:
    """A small net as AIR."""
    claim = "export to AIR"
    if bench.on_cpu:
        yield not_shown(claim, "MindSpore writes AIR only with an Ascend NPU")
        return
    outcome = bench.run("air", ["air"], LIMIT_S)
    sizes = {
        name: size for name, size in outcome.folder.sizes("work/rank-0/").items() if name.endswith(".air")
    }
    if not outcome.succeeded or not any(sizes.values()):
        yield outcome.failed(claim)
        return
    yield Proof(claim, "shown", f"tnt_digits, {sum(sizes.values()):,} bytes", (outcome.run.id,), sizes)


def prove_plog(bench: Bench) -> Iterator[Proof]:
    """A rank asks for more memory than there is; the run must fail, name the cause, and have the logs of CANN."""
    claim = "CANN logs are collected after a failure"
    if bench.on_cpu:
        yield not_shown(claim, "CANN writes logs only where an NPU is")
        return
    outcome = bench.run("plog", ["fail"], LIMIT_S)
    runs = (outcome.run.id,)
    if not outcome.in_time:
        yield outcome.failed(claim)
        return
    if outcome.view.state is not State.FAILED:
        yield Proof(claim, "differs", f"4 TiB were asked for, and the run is {outcome.view.state}", runs)
        return
    sizes = outcome.folder.sizes(PLOGS)
    failure = outcome.view.first_failure
    cause = f"{failure.rule} {failure.code}".strip() if failure else ""
    if not sizes:
        yield Proof(claim, "differs", f"the run failed ({cause}), but has no file in {PLOGS}", runs)
        return
    text = f"{len(sizes)} files, {sum(sizes.values()):,} bytes; the cause found: {cause or 'none'}"
    yield Proof(claim, "shown", text, runs, {"files": sizes, "cause": cause})
