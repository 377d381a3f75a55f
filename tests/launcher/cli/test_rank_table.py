"""`launcher rank-table` as a user types it: real processes for speed and exit codes, `main` for the rest."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.cli import rank_table
from launcher.errors import UsageError
from launcher.ranktable import CHIPS, load
from launcher.ranktable.rules import RULES

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "rank_tables"
FAKES = ROOT / "tests" / "fakes"
Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process, on a 910 server."""
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / "ascend910"))

    def command(*words: str | Path) -> int:
        parser = argparse.ArgumentParser()
        rank_table.add_arguments(parser)
        return rank_table.run(parser.parse_args([str(word) for word in words]))

    return command


def test_help_imports_no_heavy_module() -> None:
    """What the help of each command costs in CPU time is measured in test_cli."""
    code = (
        "import argparse, sys; from launcher.cli import rank_table as m; p = argparse.ArgumentParser(); m.add_arguments(p)\n"
        "assert not {'yaml', 'pydantic', 'launcher.ranktable'} & set(sys.modules), 'heavy imports'\n"
        "p.parse_args(['--help'])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_chips_are_those_of_the_library() -> None:
    assert set(rank_table._CHIPS) == set(CHIPS)


HCCL_TOOLS_CASES = [
    (["--device_num", "[0,8)"], list(range(8))),
    (["--device_num", "[0,4)"], [0, 1, 2, 3]),
    (["--device_num", "[4,8)"], [4, 5, 6, 7]),
    (["--device_num", "[0,1)"], [0]),
    (["--device_num", "[0,2)", "--visible_devices", "4,5,6,7"], [4, 5]),
    (["--visible_devices", "0,1,2,3"], [0, 1, 2, 3]),
    (["--devices", "6-7"], [6, 7]),
    ([], list(range(8))),
]


@pytest.mark.parametrize(
    ("options", "ids"), HCCL_TOOLS_CASES, ids=[" ".join(case[0]) for case in HCCL_TOOLS_CASES]
)
def test_options_of_hccl_tools(
    run: Run, capsys: pytest.CaptureFixture[str], options: list[str], ids: list[int]
) -> None:
    assert run("generate", "--server_ip", "10.0.0.5", *options) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": "1.0",
        "server_count": "1",
        "status": "completed",
        "server_list": [
            {
                "server_id": "10.0.0.5",
                "device": [
                    {
                        "device_id": str(k),
                        "device_ip": f"192.168.{100 + k % 4}.{101 + k // 4}",
                        "rank_id": str(rank),
                    }
                    for rank, k in enumerate(ids)
                ],
                "host_nic_ip": "reserve",
            }
        ],
    }


def test_a_folder_gets_the_name_of_hccl_tools(run: Run, tmp_path: Path) -> None:
    assert run("generate", "--device_num", "[0,4)", "--server_ip", "10.0.0.5", "-o", tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["hccl_4p_0123_10.0.0.5.json"]
    assert run("merge", SAMPLES / "hccl_2x8p.json", "-o", tmp_path) == 0
    assert (tmp_path / "hccl_2s_16p.json").is_file()


def test_what_lint_refuses_is_not_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hccl.json"
    assert run("generate", "--devices", "2-5", "--server_ip", "10.0.0.5", "-o", path) == 2
    assert not path.exists()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "RT007" in captured.err
    assert run("generate", "--devices", "2-5", "--server_ip", "10.0.0.5", "-o", path, "--force") == 2
    assert load(path).rank_count == 4


def test_generate_from_a_map_and_a_plan(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "machines.yaml").write_text(
        "10.0.0.5: {0: 192.168.100.101}\n10.0.0.6: {0: 192.168.100.103}\n"
    )
    assert run("generate", "--addresses", tmp_path / "machines.yaml", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["path"], answer["findings"], answer["table"]["server_count"]) == (None, [], "2")
    (tmp_path / "plan.json").write_text('{"device": "ascend910", "nodes": 2, "devices_per_node": 8}')
    assert run("generate", "--plan", tmp_path / "plan.json") == 0
    captured = capsys.readouterr()
    assert "PLACEHOLDER" in json.loads(captured.out)["note"]
    assert "RT012" in captured.err


def test_conflicting_options(run: Run) -> None:
    with pytest.raises(UsageError, match="both name physical ids"):
        run("generate", "--devices", "0", "--visible_devices", "0")
    with pytest.raises(SystemExit):
        run("generate", "--devices", "0", "--device_num", "[0,1)")


def test_lint_reports_and_exits_2(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint", SAMPLES / "hccl_8p.json", SAMPLES / "hccl_2x8p.json") == 0
    assert capsys.readouterr().out == ""
    assert run("lint", SAMPLES / "hccl_8p.json", "--ranks", "16", "--nodes", "2", "--json") == 2
    answer = json.loads(capsys.readouterr().out)
    assert [finding["rule"] for finding in answer[0]["findings"]] == ["RT016", "RT016"]
    with pytest.raises(UsageError, match="nothing to lint"):
        run("lint")


def test_lint_here(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "--server_ip", "10.0.0.5", "-o", tmp_path / "t.json") == 0
    assert run("lint", tmp_path / "t.json", "--here", "--server_ip", "10.0.0.5") == 0
    stale = (tmp_path / "t.json").read_text().replace("192.168.103.102", "192.168.103.99")
    (tmp_path / "t.json").write_text(stale)
    assert run("lint", tmp_path / "t.json", "--here", "--server_ip", "10.0.0.5") == 2
    assert "192.168.103.99, the network card says 192.168.103.102" in capsys.readouterr().out


def test_explain(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lint", "--explain", "RT007") == 0
    assert "group 0-3" in capsys.readouterr().out
    assert run("lint", "--explain", "all") == 0
    assert capsys.readouterr().out.count("Fix: ") == len(RULES)


def test_merge_repairs_what_the_usual_script_writes(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = []
    for k in (6, 5):
        document = json.loads((SAMPLES / "hccl_8p.json").read_text())
        document["server_list"][0]["server_id"] = f"10.0.0.{k}"
        for device in document["server_list"][0]["device"]:
            device["rank_id"] = int(device["rank_id"])
            device["device_ip"] = device["device_ip"].replace("192.168.", f"192.{160 + k}.")
        names.append(tmp_path / f"node{k}.json")
        names[-1].write_text(json.dumps(document))
    assert run("merge", *names) == 0
    table = json.loads(capsys.readouterr().out)
    assert [server["server_id"] for server in table["server_list"]] == ["10.0.0.6", "10.0.0.5"]
    assert [d["rank_id"] for s in table["server_list"] for d in s["device"]] == [str(k) for k in range(16)]


def test_convert_modelarts(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "jobstart_hccl.json").write_text((SAMPLES / "modelarts_2x8p.json").read_text())
    assert run("convert", folder, "--wait", "5", "-o", tmp_path / "hccl.json") == 0
    assert "rank" in capsys.readouterr().err
    assert (tmp_path / "hccl.json").read_text() == (SAMPLES / "hccl_2x8p.json").read_text().replace(
        '"host_nic_ip": "reserve",\n     ', ""
    )


def one_server(folder: Path, number: int) -> Path:
    """The table of one server with one device, as each machine of a cluster writes it."""
    text = (SAMPLES / "hccl_1p.json").read_text()
    text = text.replace("10.0.0.5", f"10.0.0.{number}").replace("192.168.100.101", f"192.168.100.{number}")
    file = folder / f"node{number}.json"
    file.write_text(text)
    return file


def test_merge_joins_the_files_of_a_pattern_by_number(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (10, 1, 9, 2):
        one_server(tmp_path, number)
    assert run("merge", tmp_path / "node*.json", "-o", tmp_path / "all.json") == 0
    servers = [server.server_id for server in load(tmp_path / "all.json").servers]
    assert servers == ["10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.10"]
    assert "quote the pattern" not in capsys.readouterr().err


def test_merge_names_the_order_that_a_shell_made(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [one_server(tmp_path, number) for number in (1, 10, 2)]
    assert run("merge", *files, "-o", tmp_path / "all.json") == 0
    servers = [server.server_id for server in load(tmp_path / "all.json").servers]
    assert servers == ["10.0.0.1", "10.0.0.10", "10.0.0.2"], "as given"
    assert "quote the pattern" in capsys.readouterr().err


def test_merge_refuses_a_pattern_without_files(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file matches"):
        run("merge", tmp_path / "node*.json")


def test_a_table_that_is_being_written_is_not_converted(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hccl.json"
    file.write_text('{"status":"initializing"}')
    assert run("convert", file, "-o", tmp_path / "out.json") == 2
    assert "not completed yet" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_show(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", SAMPLES / "a3_super_pod_2x16p.json") == 0
    assert "super pod 0" in capsys.readouterr().out
    assert run("show", SAMPLES / "hccl_1p.json", "--json") == 0
    assert capsys.readouterr().out == (SAMPLES / "hccl_1p.json").read_text()


def test_through_the_main_command(tmp_path: Path) -> None:
    """Errors of the tree become a message and exit code 2, and a reader that stops early does no harm."""
    command = [
        sys.executable,
        "-c",
        "import sys; from launcher.cli import main; sys.exit(main())",
        "rank-table",
    ]
    bad = subprocess.run(
        [*command, "show", "nowhere.json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "nowhere.json: no rank table here" in bad.stderr
    unwritable = subprocess.run(
        [*command, "merge", str(SAMPLES / "hccl_1p.json"), "-o", str(tmp_path / "no" / "t.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert unwritable.returncode == 2
    assert "can't be written" in unwritable.stderr
