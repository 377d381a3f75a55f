"""Training steps of TNT-S and ViT-B at each precision beside those of this machine's CPU, and the time of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from launcher.proof.bench import UNJOINED, Bench, Outcome, cancelled_on_error
from launcher.proof.model import Proof, not_shown

LIMIT_S = 240.0
NETS = {"TNT-S": "tnt_s_patch16_224", "ViT-B": "vit_base_patch16_224"}
TOLERANCES = {"O0": 1e-2, "O2": 2e-2, "O3": 5e-2, "bf16": 5e-2}
"""How far a figure may be from the CPU's in float32, as a share of it. NPUs may multiply float32 as float16."""
FIGURES = {"loss": "loss", "norm": "gradient norm", "loss_after": "loss after the step"}
BATCH = 2
SEEDS_MS, SEEDS_BATCH, SEEDS_DEVICES = 1747.865, 128, 8
"""Of the TNT README: 8 × Ascend 910, MindSpore 1.3."""
TIMED = 10


def prove_steps(bench: Bench) -> Iterator[Proof]:
    """One step of each net at each precision. Ranks share the work, since each case is compiled on its own."""
    levels = ["O0"] if bench.on_cpu else list(TOLERANCES)
    cases = [f"{arch}:{level}" for level in levels for arch in NETS.values()]
    words = ["step", "--batch", str(BATCH), "--operators", "mindspore", *cases]
    options = {"requires": list(UNJOINED)}
    ranks = 1 if bench.on_cpu else min(bench.devices, len(cases))
    reference = ["step", "--batch", str(BATCH), *(f"{arch}:O0" for arch in NETS.values())]
    started = bench.start("step", words, devices=ranks, options=options)
    with cancelled_on_error(started):
        expected = bench.start("step-cpu", reference, chip="cpu", options=options)
        with cancelled_on_error(expected):
            here, cpu = bench.finish(started, LIMIT_S), bench.finish(expected, LIMIT_S)
    for net, arch in NETS.items():
        for level in TOLERANCES:
            claim = f"{net} step at {level}"
            if level not in levels:
                yield not_shown(claim, "a CPU computes it in another way than an NPU, and far slower")
                continue
            name = f"step-{arch}-{level}"
            result = here.result(name, cases.index(f"{arch}:{level}") % ranks)
            yield _beside(claim, level, result, cpu.result(f"step-{arch}-O0"), (here, cpu))


def _beside(
    claim: str,
    level: str,
    result: Mapping[str, Any] | None,
    expected: Mapping[str, Any] | None,
    outcomes: tuple[Outcome, Outcome],
) -> Proof:
    here, cpu = outcomes
    runs = (here.run.id, cpu.run.id)
    if result is None:
        return here.failed(claim)
    if "error" in result:
        return Proof(claim, "differs", str(result["error"]).splitlines()[0], runs, result)
    if expected is None or "loss" not in expected:
        return cpu.failed(claim)
    figures = {"here": dict(result), "cpu": dict(expected)}
    off = {name: abs(result[name] - expected[name]) / abs(expected[name]) for name in FIGURES}
    text = ", ".join(f"{words} {result[name]:.4f} ({off[name]:.1e} off)" for name, words in FIGURES.items())
    wrong = [name for name in FIGURES if not off[name] <= TOLERANCES[level]]  # NaN is wrong, too
    if wrong:
        text += (
            f"; more than {TOLERANCES[level]:.0e} off the CPU's {', '.join(FIGURES[name] for name in wrong)}"
        )
    return Proof(claim, "differs" if wrong else "shown", text, runs, figures)


def prove_speed(bench: Bench) -> Iterator[Proof]:
    """TNT-S on all devices with the batch of its recipe, from memory: no image is read."""
    claim = f"time of a TNT-S step, {SEEDS_MS:,.3f} ms in the TNT README"
    if bench.on_cpu:
        yield not_shown(claim, "that figure is of eight Ascend 910; docs/performance.md has those of CPUs")
        return
    case = f"{NETS['TNT-S']}:O2"
    words = ["step", "--together", "--batch", str(SEEDS_BATCH), "--timed", str(TIMED), case]
    outcome = bench.run("speed", words, LIMIT_S, devices=bench.devices)
    result = outcome.result(f"step-{NETS['TNT-S']}-O2")
    if not outcome.succeeded or result is None or not result.get("step_s"):
        yield _broken(outcome, claim, result)
        return
    ms = 1000 * result["step_s"]
    text = f"{ms:,.1f} ms for {bench.devices} × {SEEDS_BATCH} images at O2, {result['images'] / result['step_s']:,.0f} images/s"
    slower = bench.devices <= SEEDS_DEVICES and ms > SEEDS_MS
    yield Proof(claim, "differs" if slower else "shown", text, (outcome.run.id,), result)


def _broken(outcome: Outcome, claim: str, result: Mapping[str, Any] | None) -> Proof:
    if result and "error" in result:
        return Proof(claim, "differs", str(result["error"]).splitlines()[0], (outcome.run.id,), result)
    return outcome.failed(claim)
