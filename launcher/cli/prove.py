"""`launcher doctor --prove`: what this machine can show of an Ascend machine, as a table and one file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.common import out, out_json, say

if TYPE_CHECKING:
    from launcher.proof.model import Proof, Verdict

STYLES: dict[Verdict, str] = {"shown": "green", "not shown": "dim", "differs": "red"}


def prove_machine(device: str, names: Sequence[str], target: str | None, as_json: bool) -> int:
    """Exit code 0 when nothing differs, else 2."""
    from launcher.errors import UsageError
    from launcher.proof.evidence import write_evidence
    from launcher.proof.prove import PROOFS, bench_for, machine_here, prove

    if unknown := [name for name in names if name not in PROOFS]:
        raise UsageError(f"no proof '{unknown[0]}'", where="--only", hint=f"one of {', '.join(PROOFS)}")
    machine = machine_here(device)
    bench = bench_for(machine)
    file = Path(target) if target else Path.cwd() / f"{bench.group}.tar.gz"
    say(
        f"{machine.devices} × {machine.chip}; ten minutes at most; runs: launcher status --group {bench.group}"
    )
    proofs: list[Proof] = []
    started = time.monotonic()
    for proof in prove(bench, names):
        proofs.append(proof)
        say(f"{time.monotonic() - started:4.0f} s  {proof.claim}: {proof.verdict}")
    if as_json:
        out_json({"file": str(file), "proofs": [proof.to_dict() for proof in proofs]})
    else:
        from launcher.cli.style import coloured

        out(table(proofs, colour=coloured()))
    write_evidence(file, bench, proofs, table(proofs, colour=False))
    say(f"for a report: {file}")
    return 2 if any(proof.verdict == "differs" for proof in proofs) else 0


def table(proofs: Sequence[Proof], *, colour: bool) -> str:
    """One line for each proof: verdict, claim, what was seen."""
    from launcher.cli.style import paint
    from launcher.printable import printable

    width = max((len(proof.claim) for proof in proofs), default=0)
    return "\n".join(
        f"{paint(f'{proof.verdict:<9}', STYLES[proof.verdict], colour)}  {proof.claim:<{width}}  {printable(proof.text)}"
        for proof in proofs
    )
