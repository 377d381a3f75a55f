"""The C++ sources are compiled once, and nothing but a complete library of ours is ever loaded."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.plan.code import code_zip
from vitmodels.device.kernels import library as module
from vitmodels.device.kernels.library import (
    SWITCH,
    Unavailable,
    build,
    cache_folders,
    compiler,
    private,
    sources,
)

pytestmark = pytest.mark.system


@pytest.fixture
def fake_compiler(tmp_path: Path) -> Path:
    """Writes a line to the file after -o, and a mark to `calls` beside itself."""
    path = tmp_path / "c++"
    path.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 1.0; exit; }\n'
        f'echo "$@" >> {tmp_path}/calls\nwhile [ "$1" != -o ]; do shift; done\necho made > "$2"\n'
    )
    path.chmod(0o755)
    return path


def calls(path: Path) -> int:
    return len((path.parent / "calls").read_text().splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "kept"
    made.mkdir(0o700)
    return made


def test_compiled_once(fake_compiler: Path, folder: Path) -> None:
    path = build(str(fake_compiler), folder)
    assert path.read_text() == "made\n"
    assert build(str(fake_compiler), folder) == path
    assert calls(fake_compiler) == 1
    assert [one for one in folder.iterdir() if one.suffix not in (".so", ".lock")] == []


def test_ranks_that_begin_together_compile_once(fake_compiler: Path, folder: Path) -> None:
    with ThreadPoolExecutor(4) as ranks:
        paths = list(ranks.map(lambda _: build(str(fake_compiler), folder), range(8)))
    assert len(set(paths)) == 1
    assert calls(fake_compiler) == 1


def test_a_damaged_library_is_made_anew(fake_compiler: Path, folder: Path) -> None:
    path = build(str(fake_compiler), folder)
    path.write_text("mad")
    key = path.stem.split("-")[0]
    (folder / f"{key}-{'0' * 32}.so").write_text("foreign")
    assert build(str(fake_compiler), folder).read_text() == "made\n"
    assert calls(fake_compiler) == 2
    assert len(list(folder.glob("*.so"))) == 1


def test_another_compiler_or_source_is_another_library(
    fake_compiler: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [build(str(fake_compiler), folder).stem]
    fake_compiler.write_text(fake_compiler.read_text().replace("1.0", "1.1"))
    keys.append(build(str(fake_compiler), folder).stem)
    changed = tmp_path / "operators.cpp"
    changed.write_text("// another")
    monkeypatch.setattr(module, "sources", lambda: [changed])
    keys.append(build(str(fake_compiler), folder).stem)
    assert len(set(keys)) == 3


def test_every_source_counts() -> None:
    folder = Path(module.__file__).parent
    assert {path.name for path in sources()} == {path.name for path in folder.iterdir()} - {"__pycache__"} - {
        path.name for path in folder.glob("*.py")
    }


def test_the_error_of_a_failing_compiler_is_reported(tmp_path: Path, folder: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\necho "x.h:1: error: no vectors here" >&2\nexit 1\n')
    broken.chmod(0o755)
    with pytest.raises(Unavailable, match=r"can't compile them .no vectors here."):
        build(str(broken), folder)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unavailable, match=r"no C\+\+ compiler"):
        compiler()


def test_the_folder_is_ours_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = cache_folders()
    assert first == tmp_path / "cache" / "vitmodels" / "kernels" and str(os.geteuid()) in second.name
    folder = private(first)
    assert stat.S_IMODE(folder.stat().st_mode) & 0o022 == 0
    folder.chmod(0o777)
    with pytest.raises(Unavailable, match="others can write"):
        private(first)
    monkeypatch.setenv(SWITCH, str(tmp_path))
    assert cache_folders() == [tmp_path]


def test_the_next_folder_when_one_does_not_do(
    fake_compiler: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CXX", str(fake_compiler))
    monkeypatch.setattr(module, "cache_folders", lambda: [tmp_path / "file" / "below", folder])
    found = module.library.__wrapped__()
    assert len(list(folder.glob("*.so"))) == 1, "made here, as the first is no folder"
    assert found.path is None, "and it is no library"
    assert found.note.startswith("slower operators: ") and "file/below" in found.note


def test_a_run_takes_the_sources_along() -> None:
    with zipfile.ZipFile(io.BytesIO(code_zip())) as archive:
        assert {f"vitmodels/device/kernels/{path.name}" for path in sources()} <= set(archive.namelist())


PROGRAM = """
import numpy as np
import mindspore as ms
from vitmodels.device.compat import kernels_file, kernels_note
from vitmodels.nets.registry import create_model
net = create_model("vit_digits", num_classes=3)
print(kernels_note(net.operators), repr(kernels_file()), net(ms.Tensor(np.zeros((1, 3, 32, 32), np.float32))).shape)
"""


@pytest.mark.parametrize(
    ("variables", "answer"),
    [
        ({SWITCH: "0"}, f"CPU kernels: slower operators, as {SWITCH}=0 says '' (1, 3)"),
        ({"PATH": "", "CXX": ""}, "CPU kernels: slower operators: no C++ compiler"),
    ],
    ids=["off", "no compiler"],
)
def test_nets_work_without(variables: dict[str, str], answer: str) -> None:
    pytest.importorskip("mindspore")
    env = {**os.environ, "GLOG_v": "3", "PYTHONPATH": str(Path(__file__).parents[3]), **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith(answer) and done.stdout.endswith("'' (1, 3)\n")
