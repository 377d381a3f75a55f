"""Each device computes; HCCL joins two of them, and all."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.proof.bench import LINK_S, UNJOINED, Bench
from launcher.proof.model import Proof, not_shown

LIMIT_S = 90.0
JOINED_LIMIT_S = LINK_S + 60.0
MOST_ERROR = 5e-3
"""Of the largest product: some NPUs multiply float32 as float16, whose numbers have 11 bits."""
ELEMENTS = 6_000_000
"""As many float32 numbers as a fourth of TNT-S's gradients."""


def prove_compute(bench: Bench) -> Iterator[Proof]:
    """A matrix product on each device, beside numpy's."""
    claim = "each device computes"
    options = {"requires": list(UNJOINED)}
    outcome = bench.run("compute", ["compute"], LIMIT_S, devices=bench.devices, options=options)
    if not outcome.succeeded:
        yield outcome.failed(claim)
        return
    errors = [(outcome.result("compute", rank) or {}).get("error") for rank in range(bench.devices)]
    known = [error for error in errors if isinstance(error, float)]
    wrong = [rank for rank, error in enumerate(errors) if error is None or not error <= MOST_ERROR]
    worst = max(known, default=float("nan"))
    text = f"{bench.devices} × {bench.chip}: matrix products within {worst:.1e} of numpy's"
    if wrong:
        text = f"ranks {', '.join(map(str, wrong))}: products off by up to {worst:.1e} of the largest one"
    yield Proof(claim, "differs" if wrong else "shown", text, (outcome.run.id,), {"errors": errors})


def prove_all_reduce(bench: Bench) -> Iterator[Proof]:
    """A sum over two devices and over all, with the rank table that the launcher makes."""
    for count in sorted({2, max(2, bench.devices)}):
        claim = f"HCCL all-reduce over {count} devices"
        if bench.devices < count:
            yield not_shown(claim, "this machine has one device")
        else:
            yield _all_reduce(bench, claim, count)


def _all_reduce(bench: Bench, claim: str, count: int) -> Proof:
    words = ["reduce", "--elements", str(ELEMENTS)]
    outcome = bench.run(f"all-reduce-{count}", words, JOINED_LIMIT_S, devices=count)
    results = [outcome.result("reduce", rank) for rank in range(count)]
    if not outcome.succeeded or None in results:
        return outcome.failed(claim)
    wrong = sum(int(result["wrong"]) for result in results if result)
    figures = results[0] or {}
    done = f"{figures['bytes'] / 1e6:.0f} MB over {count} ranks in {1000 * figures['seconds']:.0f} ms"
    runs = (outcome.run.id,)
    if wrong:
        return Proof(claim, "differs", f"{wrong} elements of the sums are wrong", runs, figures)
    if bench.on_cpu:
        text = f"a CPU has no HCCL and no rank table; MindSpore's own collectives summed {done}"
        return Proof(claim, "not shown", text, runs, figures)
    return Proof(claim, "shown", f"{done}, with the rank table made here", runs, figures)
