"""Tables as values and text: generate, write, merge, convert, show."""

from __future__ import annotations

import cProfile
import json
import os
import stat
from pathlib import Path

import pytest

from launcher.errors import PlanError, UsageError
from launcher.ranktable import (
    DeviceAddress,
    NodeAddress,
    convert,
    generate,
    legal_device_counts,
    lint,
    load,
    merge,
    parse,
    placeholder_table,
    show,
)
from tests.launcher.ranktable.tables import SAMPLES, node, ranks


def test_one_server_is_the_documented_json() -> None:
    table = generate("ascend910", [NodeAddress("10.0.0.5", (DeviceAddress(0, "192.168.100.101"),))])
    assert json.loads(table.to_json()) == {
        "version": "1.0",
        "status": "completed",
        "server_count": "1",
        "server_list": [
            {
                "server_id": "10.0.0.5",
                "host_nic_ip": "reserve",
                "device": [{"device_id": "0", "device_ip": "192.168.100.101", "rank_id": "0"}],
            }
        ],
    }


def test_ranks_follow_servers_then_devices() -> None:
    table = generate("ascend910", [node(1, 2), node(0, 2)])
    assert ranks(table) == [("10.0.0.2", 0, 0), ("10.0.0.2", 1, 1), ("10.0.0.1", 0, 2), ("10.0.0.1", 1, 3)]


def test_a3_gets_super_pods_only_when_everything_about_them_is_known() -> None:
    table = generate("atlas-a3", [node(k, 2, sdid=True) for k in range(3)])
    assert table.version == "1.2"
    assert [(pod.super_pod_id, pod.server_ids) for pod in table.super_pods] == [
        ("0", ("10.0.0.1", "10.0.0.2")),
        ("1", ("10.0.0.3",)),
    ]
    plain = generate("atlas-a3", [node(0, 2)])
    assert plain.version == "1.0"
    assert "super" not in plain.to_json()


@pytest.mark.parametrize(
    ("chip", "words"),
    [("cpu", "no rank table"), ("ascend950", "can't be generated"), ("ascend350", "can't be generated")],
)
def test_chips_without_a_table_say_so(chip: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        generate(chip, [node(0)])


def test_unknown_chip_suggests() -> None:
    with pytest.raises(UsageError, match=r"Did you mean ascend910"):
        legal_device_counts("ascend-910")


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_samples_are_what_their_name_says(path: Path) -> None:
    table = load(path)
    chip = "atlas-a3" if path.name.startswith("a3") else "ascend910"
    bad = [finding for finding in lint(table, chip=chip) if finding.severity != "info"]
    assert bad == []
    shape = path.stem.split("_")[-1].removesuffix("p")
    servers, _, devices = shape.rpartition("x")
    assert (len(table.servers), table.rank_count) == (int(servers or 1), int(servers or 1) * int(devices))
    if not path.name.startswith("modelarts"):
        assert path.read_text() == table.to_json()


def test_samples_cover_what_the_readme_lists() -> None:
    text = (SAMPLES / "README.md").read_text()
    for path in SAMPLES.glob("*.json"):
        assert f"`{path.name}`" in text


def test_write_replaces_atomically(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    path.write_text("old")
    reader = path.open()
    old_umask = os.umask(0o077)
    try:
        generate("ascend910", [node(0)]).write(path)
    finally:
        os.umask(old_umask)
    assert reader.read() == "old"  # a reader of the old file never sees a mixture
    reader.close()
    assert load(path).rank_count == 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["hccl.json"]


def test_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "hccl.json").mkdir()
    with pytest.raises(UsageError, match="can't be written"):
        generate("ascend910", [node(0)]).write(tmp_path / "hccl.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["hccl.json"]


def test_merge_keeps_the_order_and_renumbers() -> None:
    first, second = generate("ascend910", [node(5, 2)]), generate("ascend910", [node(3, 2), node(4, 2)])
    table = merge([first, second])
    assert [server.server_id for server in table.servers] == ["10.0.0.6", "10.0.0.4", "10.0.0.5"]
    assert [device.rank_id for _, device in table.devices()] == list(range(6))


def test_merge_joins_super_pods() -> None:
    table = merge([generate("atlas-a3", [node(k, 2, sdid=True)]) for k in range(3)])
    assert [pod.server_ids for pod in table.super_pods] == [("10.0.0.1", "10.0.0.2"), ("10.0.0.3",)]
    assert lint(table, chip="atlas-a3") == []


def test_merge_refuses_what_would_be_wrong() -> None:
    one = generate("ascend910", [node(0)])
    with pytest.raises(UsageError, match=r"10\.0\.0\.1 appears twice"):
        merge([one, one])
    with pytest.raises(UsageError, match=r"different versions: 1\.0, 1\.2"):
        merge([one, generate("atlas-a3", [node(1, 2, sdid=True)])])
    with pytest.raises(UsageError, match="'initializing'"):
        merge([one, placeholder_table("ascend910", 1, 8)])


def test_convert_between_versions() -> None:
    pods = generate("atlas-a3", [node(k, 2, sdid=True) for k in range(2)])
    plain = convert(pods, "1.0")
    assert plain.version == "1.0"
    assert "super" not in plain.to_json()
    with pytest.raises(PlanError, match=r"can't make version 1\.2"):
        convert(plain, "1.2")


@pytest.mark.parametrize(
    ("chip", "nodes", "devices"), [("ascend910", 2, 8), ("atlas-a3", 3, 16), ("ascend910b", 1024, 8)]
)
def test_placeholders_can_not_be_mistaken(chip: str, nodes: int, devices: int) -> None:
    table = placeholder_table(chip, nodes, devices)
    assert (len(table.servers), table.rank_count) == (nodes, nodes * devices)
    again = parse(table.to_json())
    assert again == table
    assert again.is_placeholder
    assert {f.rule for f in lint(again, chip=chip) if f.severity == "error"} == {"RT002", "RT012"}
    assert {f.severity for f in lint(again, chip=chip, ranks=nodes * devices, nodes=nodes, planned=True)} == {
        "info"
    }
    assert "PLACEHOLDER" in show(again)


def _calls_for(servers: int) -> int:
    """Function calls that it takes to generate and lint a table: the same on every machine, however busy."""
    nodes = [
        NodeAddress(
            f"10.1.{k // 250}.{k % 250 + 1}",
            tuple(DeviceAddress(d, f"172.{16 + d}.{k // 250}.{k % 250 + 1}") for d in range(8)),
        )
        for k in range(servers)
    ]
    profile = cProfile.Profile()
    found = profile.runcall(
        lambda: lint(generate("ascend910", nodes), chip="ascend910", ranks=8 * servers, nodes=servers)
    )
    assert found == []
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.system
def test_the_work_grows_with_the_number_of_servers_and_no_faster() -> None:
    assert _calls_for(1024) < 10 * _calls_for(128)


def test_show_draws_devices_and_counts_the_rest() -> None:
    picture = show(generate("ascend910", [node(k, 4) for k in range(5)]), width=100, servers=2)
    lines = picture.splitlines()
    assert lines[0] == "version 1.0, completed, 5 servers, 20 ranks"
    assert "device 3" in picture
    assert "rank 7" in picture
    assert "rank 8" not in picture
    assert lines[-1] == "... and 3 more servers"
    assert len({len(line) for line in lines[1:6]}) == 1, "the box is straight"
    narrow = show(generate("ascend910", [node(0)]), width=40)
    assert max(len(line) for line in narrow.splitlines()) <= 44
