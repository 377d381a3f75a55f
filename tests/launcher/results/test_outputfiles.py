"""Which files of a program are results: all but what compilers leave, refined by `outputs:`."""

from pathlib import Path

import pytest

from launcher.disk import part_name
from launcher.jobfile.spec_outputs import OutputsSpec
from launcher.results.outputfiles import Outputs, Selection, find_outputs
from launcher.results.programfiles import SETTLE_S, ProgramFiles
from launcher.results.tree import scan
from launcher.runfolder.manifest import local_sets
from tests.servers.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def found(run: RunDir, ranks: list[int] | None = None, *, others: bool = True, **spec: object) -> Outputs:
    sets = local_sets(run.root / "checkpoints")
    selection = Selection(OutputsSpec.model_validate(spec))
    return find_outputs(run.root, selection, sets, ranks, others=others)


def names(run: RunDir, ranks: list[int] | None = None, *, others: bool = True, **spec: object) -> list[str]:
    return [file.name for file in found(run, ranks, others=others, **spec).files]


def write(run: RunDir, *names: str) -> None:
    for name in names:
        path = run.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_all_that_a_program_leaves_is_a_result(run: RunDir) -> None:
    mine = (
        ".hydra/config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/step-7/model.ckpt",
        "curves.csv",
        "logs/tensorboard/events.1",
        "summary/a/b/c.txt",
        "work/rank-0/.hidden",
        "work/rank-0/ckpt/net-1_20.ckpt",
        "work/rank-0/core/notes.txt",
        "work/rank-1/out.npz",
        "work/shared.txt",
    )
    write(run, *mine)
    assert names(run) == sorted(mine)


def test_what_is_of_the_launcher_of_compilers_and_of_python_is_none(run: RunDir) -> None:
    write(
        run,
        *("plan.json", "state.json", "upload.json", "upload-node-3.json", "console.log", ".reserve-0"),
        *("status/node-0.json", "progress/rank-0.jsonl", "logs/attempt-1/node-0/rank-0.log", "eval/a.json"),
        *("profile/node-0/rank-0.json", "profile/node-0/rank-0/trace_view.json"),
        *(".restored-1", ".restore.lock", ".code-0123/a.py", f"work/rank-0/ckpt/{part_name('a.ckpt')}"),
        *("compile-cache/rank-0/x", "ascend/rank-0/log", "checkpoints/LATEST", "checkpoints/.tmp-step-1/x"),
        *("work/rank-0/kernel_meta/a.o", "work/rank-0/rank_0/om/a.om", "work/rank-0/sub/kernel_meta/b/c"),
        *("work/rank-0/__pycache__/a.pyc", "work/rank-0/pkg/__pycache__/b.pyc", "work/rank-0/core.123"),
    )
    run.checkpoint(10)
    assert names(run) == []


@pytest.mark.parametrize("damage", [b"", b'{"step": 10, "files": [', b"[]"])
def test_a_damaged_checkpoint_never_takes_the_place_of_the_one_in_the_store(
    run: RunDir, damage: bytes
) -> None:
    """As a machine that lost its power leaves one. A manifest of another form is a file of the program's own."""
    run.checkpoint(10)
    (run.root / "checkpoints/step-10/manifest.json").write_bytes(damage)
    write(run, "checkpoints/step-7/model.ckpt")
    (run.root / "checkpoints/step-7/manifest.json").write_text('{"shards": 1}')
    outputs = found(run)
    mine = ["checkpoints/step-7/manifest.json", "checkpoints/step-7/model.ckpt"]
    assert [file.name for file in outputs.files] == mine
    assert [each.name for each in outputs.left_out] == ["checkpoints/step-10"]


@pytest.mark.parametrize("kept", [b"", b"shorter"])
def test_a_checkpoint_whose_data_is_cut_off_stays_here(run: RunDir, kept: bytes) -> None:
    run.checkpoint(10)
    first = next(
        path for path in sorted((run.root / "checkpoints/step-10").iterdir()) if path.name != "manifest.json"
    )
    first.write_bytes(kept)
    assert names(run) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"exclude": ["tmp/"]}, ["a.csv", "ckpt/1.ckpt", "ckpt/1.json", "tmpfile"]),
        ({"exclude": ["*.json", "/tmp"]}, ["a.csv", "ckpt/1.ckpt", "sub/tmp/x", "tmpfile"]),
        ({"include": ["ckpt/"]}, ["ckpt/1.ckpt", "ckpt/1.json"]),
        ({"include": ["ckpt/", "*.csv"], "exclude": ["*.json"]}, ["a.csv", "ckpt/1.ckpt"]),
        ({"include": ["kernel_meta/"]}, ["kernel_meta/k.o"]),
        ({"include": ["**/x"]}, ["sub/tmp/x", "tmp/x"]),
        ({"include": ["sub/**"]}, ["sub/tmp/x"]),
        ({"include": ["tmp?ile", "ckpt/[0-9].json"]}, ["ckpt/1.json", "tmpfile"]),
    ],
)
def test_patterns(run: RunDir, spec: dict[str, object], expected: list[str]) -> None:
    inside = ("a.csv", "ckpt/1.ckpt", "ckpt/1.json", "kernel_meta/k.o", "sub/tmp/x", "tmp/x", "tmpfile")
    write(run, *(f"work/rank-0/{name}" for name in inside))
    assert names(run, **spec) == [f"work/rank-0/{name}" for name in expected]


def test_what_stays_is_named(run: RunDir) -> None:
    write(run, "work/rank-0/big.bin", "work/rank-0/odd\nname", "work/rank-0/small")
    (run.root / "work/rank-0/big.bin").write_bytes(bytes(5000))
    (run.root / "work/rank-0/mydata").symlink_to("/tmp")
    outputs = found(run, max_file="4KB")
    assert [file.name for file in outputs.files] == ["work/rank-0/small"]
    assert {each.name: each.why for each in outputs.left_out} == {
        "work/rank-0/big.bin": "5.0 kB, more than outputs.max_file",
        r"'work/rank-0/odd\nname'": "its name contains a control character",
    }
    assert outputs.links == ("work/rank-0/mydata",)


def test_each_machine_has_its_ranks_and_node_0_the_others(run: RunDir) -> None:
    write(run, "work/rank-0/a", "work/rank-1/b", "work/scheduler/c", "d")
    assert names(run, [0]) == ["d", "work/rank-0/a", "work/scheduler/c"]
    assert names(run, [1], others=False) == ["work/rank-1/b"]


def test_a_machine_with_a_disk_of_its_own_has_the_others_too(run: RunDir) -> None:
    write(run, "work/rank-1/b", "d")
    files = ProgramFiles(run.root, OutputsSpec(), [1], node=1)
    assert [file.key for file in files.scan(1, final=True).files] == ["nodes/node-1/d", "work/rank-1/b"]
    (run.root / "status").mkdir()
    (run.root / "status" / "node-0.json").write_text('{"attempt": 1}')
    assert [file.key for file in files.scan(1, final=True).files] == ["work/rank-1/b"]
    assert len(files.scan(2, final=True).files) == 2  # node 0 was here in an attempt before


def test_a_file_is_taken_when_it_has_come_to_rest(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("launcher.results.programfiles.time.monotonic", lambda: now)
    files = ProgramFiles(run.root, OutputsSpec(), [0], node=0)
    write(run, "work/rank-0/a", "work/rank-0/b")
    assert files.scan(1, final=False).files == ()
    now += SETTLE_S / 2
    (run.root / "work/rank-0/b").write_text("longer than before")
    assert files.scan(1, final=False).files == ()
    now += SETTLE_S / 2
    assert [file.key for file in files.scan(1, final=False).files] == ["work/rank-0/a"]
    assert [file.key for file in files.scan(1, final=True).files] == ["work/rank-0/a", "work/rank-0/b"]


def test_each_machine_uploads_the_profiles_of_its_own_ranks(run: RunDir) -> None:
    write(run, "profile/node-0/rank-0.json", "profile/node-1/rank-8.json", "profile/node-1/.rank-9/half.csv")
    write(run, "profile/node-1/rank-8/trace_view.json", "profile/mine.txt")
    assert names(run) == ["profile/mine.txt"]
    assert [file.key for file in scan(run.root, 0).files] == ["profile/node-0/rank-0.json"]
    ours = ["profile/node-1/rank-8.json", "profile/node-1/rank-8/trace_view.json"]
    assert [file.key for file in scan(run.root, 1).files] == ours
