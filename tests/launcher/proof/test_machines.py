"""`launcher doctor --prove` on machines whose NPUs are stand-ins: real runs, real rank tables, and a program in place of MindSpore's."""

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import main
from launcher.proof import bench as benches

ROOT = Path(__file__).parents[3]
FAKES = ROOT / "tests" / "fakes"

pytestmark = pytest.mark.system


@pytest.fixture
def npus(tmp_path: Path, launcher_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with eight Ascend 910."""
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / "ascend910"))
    monkeypatch.setattr(benches, "PROGRAM", (sys.executable, str(ROOT / "tests" / "programs" / "prover.py")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prove(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit code, proofs by their claims, the file."""
    code = main(["doctor", "--prove", "--json", *words])
    answer = json.loads(capsys.readouterr().out)
    return code, {proof["claim"]: proof for proof in answer["proofs"]}, answer["file"]


def test_a_machine_that_does_all_it_should(npus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, proofs, file = prove(capsys)
    lacking = {claim: proof["text"] for claim, proof in proofs.items() if proof["verdict"] != "shown"}
    assert lacking == {}
    assert code == 0
    assert len(proofs) == 15
    assert "8 × 128 images" in next(
        proof["text"] for claim, proof in proofs.items() if claim.startswith("time of a TNT-S step")
    )
    # HCCL gives up on a link, and says why, before the proof gives up on HCCL
    assert proofs["HCCL all-reduce over 8 devices"]["figures"]["link_s"] == "120"
    assert "resumed from step 2" in proofs["a killed training resumes to the last bit"]["text"]
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        tables = [name for name in archive.getnames() if name.endswith("/rank_table.json")]
        sizes = {
            len(json.load(archive.extractfile(name))["server_list"][0]["device"])  # type: ignore[arg-type]
            for name in tables
            if "prove-all-reduce" in name
        }
    assert {"table.txt", "proofs.json", "doctor.json", "npu-smi-info.txt", "npu-smi-info--m.txt"} <= names
    assert sizes == {2, 8}
    assert any("/plog/rank-0/" in name for name in names)
    assert not any(name.endswith((".safetensors", ".air")) for name in names)


WRONG = {
    "each device computes": "ranks 3: products off",
    "HCCL all-reduce over 2 devices": "4 elements",
    "HCCL all-reduce over 8 devices": "16 elements",
    "a killed training resumes to the last bit": "1 of 1 arrays differ",
    "export to AIR": "launcher explain prove-air",
    "CANN logs are collected after a failure": "has no file in",
    "TNT-S step at O3": "off the CPU's loss",
    "TNT-S step at bf16": "RuntimeError: no such operator",
    "ViT-B step at O3": "off the CPU's loss",
    "ViT-B step at bf16": "RuntimeError: no such operator",
}


@pytest.mark.slow
def test_what_differs_is_named(
    npus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_PROOF", "1")
    code, proofs, _ = prove(capsys)
    assert code == 2
    assert [claim for claim, proof in proofs.items() if proof["verdict"] == "differs"] == list(WRONG)
    for claim, text in WRONG.items():
        assert text in proofs[claim]["text"]


def test_another_chip_than_the_one_named_is_no_proof(npus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, proofs, _ = prove(capsys, "--device", "ascend910b", "--only", "compute")
    assert code == 0
    assert proofs["compute"]["verdict"] == "not shown"
    assert "which is ascend910" in proofs["compute"]["text"]
