import json
import time
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.cli.prove import table
from launcher.errors import PlanError
from launcher.proof import prove as proving
from launcher.proof.bench import Bench
from launcher.proof.evidence import write_evidence
from launcher.proof.model import Proof, not_shown
from launcher.proof.prove import PROOFS, machine_here, prove
from launcher.proof.resume import array_digests
from launcher.runs.folder import RunFolder

CPU_CLAIMS = {
    "air": "MindSpore writes AIR only",
    "plog": "CANN writes logs only",
    "speed": "eight Ascend 910",
}


def bench(folder: Path, seconds: float) -> Bench:
    return Bench(folder, "cpu", 1, time.monotonic() + seconds, "prove-test")


def test_what_there_is_no_time_for_is_named_with_its_command(tmp_path: Path) -> None:
    proofs = list(prove(bench(tmp_path, 0)))
    assert [proof.claim for proof in proofs] == list(PROOFS)
    assert {proof.verdict for proof in proofs} == {"not shown"}
    assert "launcher doctor --prove --only resume" in next(p.text for p in proofs if p.claim == "resume")


@pytest.mark.parametrize("name", list(CPU_CLAIMS))
def test_what_a_cpu_can_t_show_starts_nothing(tmp_path: Path, name: str) -> None:
    (proof,) = prove(bench(tmp_path, 600), [name])
    assert proof.verdict == "not shown"
    assert CPU_CLAIMS[name] in proof.text
    assert list(tmp_path.iterdir()) == []


def test_one_device_joins_nothing(tmp_path: Path) -> None:
    (proof,) = prove(bench(tmp_path, 600), ["all-reduce"])
    assert (proof.verdict, proof.text) == ("not shown", "this machine has one device")


def test_an_error_of_a_proof_is_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_bench: Bench) -> None:
        raise PlanError("no devices", hint="wait")

    monkeypatch.setitem(proving.PROOFS, "compute", refuse)  # type: ignore[arg-type]
    (proof,) = prove(bench(tmp_path, 600), ["compute"])
    assert (proof.verdict, proof.text) == ("not shown", "no devices;   hint: wait")


class Started:
    """A run that never ends, and whether it was cancelled."""

    cancelled = False

    def wait(self, timeout_s: float) -> None:
        raise KeyboardInterrupt

    def cancel(self) -> None:
        self.cancelled = True


def test_ctrl_c_leaves_no_run_behind(tmp_path: Path) -> None:
    run = Started()
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path, 600).finish(run, 60)  # type: ignore[arg-type]
    assert run.cancelled


def test_names_of_a_whole_folder_begin_with_no_slash(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text("1")
    (tmp_path / "state.json").write_text("{}")
    assert RunFolder(tmp_path).sizes("") == {"logs/a.log": 1, "state.json": 2}


def safetensors(metadata: dict[str, str], **arrays: bytes) -> bytes:
    header: dict[str, object] = {"__metadata__": metadata}
    data = b""
    for name, content in arrays.items():
        places = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": places}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_arrays_are_compared_not_files() -> None:
    """The order of metadata and of arrays in a file is no result of a training."""
    one = safetensors({"a": "1", "b": "2"}, w=b"12", v=b"3")
    other = safetensors({"b": "2", "a": "1"}, v=b"3", w=b"12")
    assert one != other
    assert array_digests(one) == array_digests(other)
    assert array_digests(one) != array_digests(safetensors({}, w=b"13", v=b"3"))


def test_secrets_do_not_reach_the_file(tmp_path: Path, launcher_home: Path) -> None:
    import tarfile

    log = tmp_path / "work" / "run" / "logs" / "rank-0.log"
    log.parent.mkdir(parents=True)
    log.write_text("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIbPxRfiCY\nplain\n")
    (log.parent / "weights.safetensors").write_bytes(b"0")
    file = tmp_path / "proof.tar.gz"
    write_evidence(file, bench(tmp_path, 1), [not_shown("speed", "no NPU")], "table")
    with tarfile.open(file) as archive:
        content = {name: archive.extractfile(name).read().decode() for name in archive.getnames()}  # type: ignore[union-attr]
    (text,) = (text for name, text in content.items() if name.endswith("rank-0.log"))
    assert "plain" in text
    assert "wJalrXUtnFEMIbPxRfiCY" not in "".join(content.values())
    assert not any("weights" in name for name in content)


def test_table() -> None:
    proofs = [Proof("each device computes", "shown", "8"), Proof("export to AIR", "differs", "a\x1b[31mb")]
    lines = table(proofs, colour=False).split("\n")
    assert lines[0] == "shown      each device computes  8"
    assert lines[1].startswith("differs    export to AIR         a")
    assert "\x1b" not in lines[1]


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["--prove", "--only", "speeed"], "--only: no proof 'speeed'"),
        (["--prove", "--device", "tpu"], "--device: 'tpu'"),
        (["--prove", "--job", "job.yaml"], "--job: not with --prove"),
        (["--only", "compute"], "--only: only with --prove"),
        (["--out", "x"], "--out: only with --prove"),
    ],
)
def test_words_that_don_t_fit(words: list[str], place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 2
    assert place in capsys.readouterr().err


def test_a_machine_without_npus_is_proven_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "chip_here", lambda: "cpu")
    monkeypatch.setattr(proving.os, "cpu_count", lambda: 1)
    assert (machine_here("auto").chip, machine_here("auto").devices) == ("cpu", 1)
