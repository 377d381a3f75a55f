"""The proofs of a CPU with real MindSpore: ranks that compute, ranks that are joined, a training that is killed."""

import json
from pathlib import Path

import pytest

from launcher.cli import main

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_a_cpu_shows_what_it_can(
    tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("launcher.proof.steps.NETS", {"small TNT": "tnt_digits"})
    words = [word for name in ("compute", "all-reduce", "resume", "step") for word in ("--only", name)]
    file = tmp_path / "proof.tar.gz"
    assert main(["doctor", "--prove", "--device", "cpu", "--json", "--out", str(file), *words]) == 0
    proofs = {proof["claim"]: proof for proof in json.loads(capsys.readouterr().out)["proofs"]}
    shown = [claim for claim, proof in proofs.items() if proof["verdict"] == "shown"]
    assert shown == [
        "each device computes",
        "a killed training resumes to the last bit",
        "small TNT step at O0",
    ], {claim: proof["text"] for claim, proof in proofs.items()}
    assert "MindSpore's own collectives" in proofs["HCCL all-reduce over 2 devices"]["text"]
    assert file.stat().st_size > 0
