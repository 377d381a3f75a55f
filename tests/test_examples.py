"""The examples of programs of one's own, run as a user would: plain scripts with a job file, killed and resumed."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launcher.api import Run
from launcher.cli import main
from launcher.runfolder.states import State
from launcher.runs.onlyhere import only_here
from launcher.runs.prune import Kept, find_items
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from launcher.submission.resume import resume
from tests.waiting import wait_until

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[1]
TORCH = os.environ.get("LAUNCHER_TEST_TORCH", sys.executable)
"""A Python that has torch."""
LONG_S = 400.0
"""MindSpore starts on several ranks of a busy machine within this time."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs) -> Path:
    """A folder of any name, with eight images for each of two classes in train/."""
    from PIL import Image

    here, draws = tmp_path / "a folder", random.Random(0)
    for index in range(16):
        path = here / "images" / "train" / f"class-{index % 2}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (32, 32), draws.randbytes(32 * 32 * 3)).save(path)
    monkeypatch.chdir(here)
    return here


def job_of(example: str, ranks: int, **changes: object) -> Path:
    """The project's job file with this test's folders, and the script named from where it is."""
    job = yaml.safe_load((ROOT / "jobs" / example).read_text())
    job["program"][1] = str(ROOT / job["program"][1])
    job |= {"data": {"url": "images"}, "output": {"url": "runs"}, "resources": {"devices_per_node": ranks}}
    Path("job.yaml").write_text(yaml.safe_dump({**job, **changes}))
    return Path("job.yaml")


def logs_of(run_id: str, attempt: int) -> str:
    found = sorted(Path("runs").glob(f"{run_id}/logs/attempt-{attempt}/node-0/rank-*.log"))
    return "\n".join(path.read_text() for path in found)


def test_the_mindspore_script_runs_on_one_rank(folder: Path, jobs) -> None:
    path = job_of("lenet_program.yaml", 1)
    job = yaml.safe_load(path.read_text())
    job["program"] += ["--batch-size", "4", "--epochs", "2"]
    path.write_text(yaml.safe_dump(job))
    entry = submit(prepare(path), jobs.index)
    jobs.entries.append(entry)
    jobs.until(entry, lambda view: view.state.terminal, LONG_S)
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED, view.reason
    assert "accuracy" in logs_of(view.run_id, 1)
    assert view.progress.epoch == 2
    saved = sorted(path.name for path in (entry.run_dir.work / "rank-0" / "ckpt").glob("*.ckpt"))
    assert saved == ["lenet-1_4.ckpt", "lenet-2_4.ckpt"]
    assert view.safe == "checkpoint work/rank-0/ckpt/lenet-2_4.ckpt"
    Run(entry, jobs.index).fetch(Path("got"), only="checkpoints")
    for name in saved:
        here = entry.run_dir.work / "rank-0" / "ckpt" / name
        assert (Path("got") / "work" / "rank-0" / "ckpt" / name).read_bytes() == here.read_bytes()
    assert only_here(entry) == []
    entry.store.open().delete("work/rank-0/ckpt/lenet-1_4.ckpt")
    assert [each.name for each in only_here(entry)] == ["work/rank-0/ckpt/lenet-1_4.ckpt"]


def test_the_mindspore_script_on_two_ranks_is_killed_and_resumes(folder: Path, jobs) -> None:
    path = job_of("lenet_program.yaml", 2, retry={"max_restarts": 1, "backoff": "0s"})
    job = yaml.safe_load(path.read_text())
    job["program"] += ["--batch-size", "4", "--epochs", "20000"]
    path.write_text(yaml.safe_dump(job))
    entry = submit(prepare(path), jobs.index)
    jobs.entries.append(entry)
    ckpt = entry.run_dir.work / "rank-0" / "ckpt"
    wait_until(lambda: list(ckpt.glob("*-1_2.ckpt")), "a checkpoint of the first attempt", LONG_S)
    rank = next(node for node in jobs.view(entry).nodes).ranks[1]
    os.kill(rank.pid, signal.SIGKILL)
    wait_until(lambda: "resumed after epoch" in logs_of(entry.run_id, 2), "both ranks resume", LONG_S)
    jobs.until(entry, lambda view: view.attempt == 2 and view.phase == "training", LONG_S)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_no_checkpoint_is_lost_when_the_node_program_is_killed(
    folder: Path, jobs, ranks: int, rng: random.Random
) -> None:
    """Killed at random moments and resumed: all of the disk is in the store, comes back, and is guarded by prune."""
    path = job_of("lenet_program.yaml", ranks)
    job = yaml.safe_load(path.read_text())
    job["program"][-1] = "600"
    job["program"] += ["--batch-size", "4"]
    job["output"]["upload_every"] = "1s"
    path.write_text(yaml.safe_dump(job))
    entry = submit(prepare(path), jobs.index)
    jobs.entries.append(entry)
    work = entry.run_dir.work
    for _ in range(2):
        before, more = newest_epoch(work), rng.randint(1, 40)
        wait_until(
            lambda least=before + more: newest_epoch(work) >= least, f"{more} more checkpoints", LONG_S
        )
        os.kill(jobs.index.find(entry.run_id).handle.data["pid"], signal.SIGKILL)
        jobs.until(entry, lambda view: view.state.terminal, LONG_S)
        entry = resume(jobs.index.find(entry.run_id), jobs.index)
    jobs.until(entry, lambda view: view.state.terminal, LONG_S)
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED, view.reason
    assert "resumed after epoch" in logs_of(entry.run_id, 3)
    saved = {path.relative_to(entry.run_dir.root): path.read_bytes() for path in work.rglob("*.ckpt")}
    assert len(saved) >= 3
    Run(entry, jobs.index).fetch(Path("got"), only="checkpoints")
    assert {name: (Path("got") / name).read_bytes() for name in saved} == saved
    store, victim = entry.store.open(), min(saved).as_posix()
    stored, aside = Path("runs") / entry.run_id / victim, Path("aside.ckpt")
    stored.rename(aside)
    kept: list[Kept] = []
    assert find_items(jobs.index, older_than_s=0, kinds=["work folder"], on_kept=kept.append) == []
    assert [each.names for each in kept] == [(victim,)]
    assert main(["prune", "--older-than", "0", "--yes"]) == 0
    assert {name: (entry.run_dir.root / name).read_bytes() for name in saved} == saved
    aside.rename(stored)
    assert main(["prune", "--older-than", "0", "--yes"]) == 0
    assert not entry.run_dir.root.exists()
    assert {name: store.read(name.as_posix()) for name in saved} == saved


def newest_epoch(work: Path) -> int:
    """Of the checkpoints on this disk, named `lenet-7_4.ckpt` or, after a resume, `lenet_1-7_4.ckpt`."""
    return max(
        (int(path.stem.rpartition("-")[2].partition("_")[0]) for path in work.rglob("*.ckpt")), default=0
    )


def test_the_torch_script_fails_and_resumes_on_two_ranks(folder: Path, jobs) -> None:
    if subprocess.run([TORCH, "-c", "import torch"], capture_output=True, check=False).returncode:
        pytest.skip(
            "torch is not installed: pip install torch, or name a Python that has it in LAUNCHER_TEST_TORCH"
        )
    Path("job.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "ddp",
                "program": ["python", str(ROOT / "examples" / "plain_torch.py"), "--epochs", "3"],
                "resume_args": ["--resume", "{resume}"],
                "resources": {"devices_per_node": 2},
                "local": {"python": TORCH},
                "progress": {"epoch": r"epoch: (\d+)", "loss": r"loss=([.\w]+)"},
            }
        )
    )
    entry = submit(prepare("job.yaml"), jobs.index)
    jobs.entries.append(entry)
    first = jobs.end(entry)
    assert first.state is State.SUCCEEDED, first.reason
    assert first.progress.loss is not None
    longer = yaml.safe_load(Path("job.yaml").read_text())
    longer["program"][-1] = "4"
    longer["model"] = {"checkpoint": f"runs/{first.run_id}"}
    entry.store.open().put_file(
        "work/rank-0/checkpoint.pth", entry.run_dir.work / "rank-0" / "checkpoint.pth"
    )
    Path("job.yaml").write_text(yaml.safe_dump(longer))
    entry = submit(prepare("job.yaml"), jobs.index)
    jobs.entries.append(entry)
    second = jobs.end(entry)
    assert second.state is State.SUCCEEDED, second.reason
    assert logs_of(second.run_id, 1).count("resumed after epoch 3") == 2


def test_mindcvs_way_of_calling(folder: Path, jobs) -> None:
    (folder / "configs").mkdir()
    (folder / "configs" / "lenet.yaml").write_text("model: lenet\nepoch_size: 9\n")
    program = ["python", str(ROOT / "tests" / "programs" / "mindcv_like.py"), "-c", "configs/lenet.yaml"]
    program += ["--distribute", "True", "--data_dir", "{data}", "--epoch_size", "4"]
    Path("job.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "mindcv",
                "program": program,
                "resume_args": ["--ckpt_path", "{resume}"],
                "requires": ["yaml"],
                "data": {"url": "images"},
                "resources": {"devices_per_node": 2},
                "retry": {
                    "max_restarts": 1,
                    "backoff": "0s",
                    "on": [{"exit_code": 1, "do": "restart"}],
                },
            }
        )
    )
    entry = submit(prepare("job.yaml"), jobs.index)
    jobs.entries.append(entry)
    view = jobs.end(entry)
    assert view.state is State.SUCCEEDED, view.reason
    assert (view.attempt, view.progress.epoch, view.progress.epochs) == (2, 4, 4)
    assert "Epoch: [1/4], batch: [16/16]" in logs_of(view.run_id, 1)
    assert "Epoch: [1/4]" not in logs_of(view.run_id, 2)
