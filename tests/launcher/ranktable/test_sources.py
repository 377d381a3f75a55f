"""Machines from this machine's tools, from a map, from a plan."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.devices.probe import Probe
from launcher.errors import LauncherError, UsageError
from launcher.ranktable import DeviceAddress, generate, lint
from launcher.ranktable.sources import (
    Choice,
    from_map,
    from_plan,
    own_address,
    parse_ids,
    parse_interval,
    this_machine,
)

FAKES = Path(__file__).parents[2] / "fakes"
MACHINES = FAKES / "machines"
Become = Callable[[str], Probe]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Become:
    """Pretend to be one of tests/fakes/machines."""

    def become(name: str) -> Probe:
        monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_ASCEND", str(MACHINES / name))
        return Probe(hccn_conf=MACHINES / name / "hccn.conf", dev_dir=tmp_path, search=())

    return become


def test_intervals_and_lists() -> None:
    assert parse_interval("[0,4)") == (0, 1, 2, 3)
    assert parse_interval(" [ 4 , 8 ) ") == (4, 5, 6, 7)
    assert parse_interval("[0,16)") == tuple(range(16)), "hccl_tools reads the first digit only"
    assert parse_ids("0-3") == (0, 1, 2, 3)
    assert parse_ids("6, 7,0-1") == (6, 7, 0, 1)


@pytest.mark.parametrize("text", ["8", "[4,4)", "[5,2)", "[0,8]", "[a,b)", "[0,99)", ""])
def test_bad_intervals(text: str) -> None:
    with pytest.raises(UsageError, match="devices"):
        parse_interval(text)


@pytest.mark.parametrize("text", ["", "0,0", "3-1", "x", "0-99", "1,,2"])
def test_bad_lists(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ids(text)


def test_this_machine_takes_all_or_the_chosen(machine: Become) -> None:
    probe = machine("ascend910")
    node = this_machine("ascend910", Choice(), server_ip="10.0.0.5", probe=probe)
    assert [device.device_id for device in node.devices] == list(range(8))
    assert node.devices[4] == DeviceAddress(4, "192.168.100.102")
    half = this_machine("ascend910", Choice(logical=(4, 5, 6, 7)), server_ip="10.0.0.5", probe=probe)
    assert [device.device_id for device in half.devices] == [4, 5, 6, 7]


def test_this_machine_knows_its_super_pod(machine: Become) -> None:
    node = this_machine("atlas-a3", Choice(visible=(0, 1)), server_ip="10.0.0.5", probe=machine("atlas-a3"))
    assert (node.super_pod_id, node.devices[1].super_device_id, node.host_ip) == ("3", "4194305", "10.0.0.5")
    assert lint(generate("atlas-a3", [node]), chip="atlas-a3") == []


def test_a_container_counts_its_devices_from_0(machine: Become) -> None:
    probe = machine("container-4-7")
    for choice in (
        Choice(),
        Choice(logical=(0, 1, 2, 3)),
        Choice(logical=(0, 1, 2, 3), visible=(4, 5, 6, 7)),  # what makes hccl_tools end with KeyError: '4'
        Choice(visible=(4, 5, 6, 7)),
    ):
        node = this_machine("ascend910b", choice, server_ip="10.0.0.5", probe=probe)
        assert [device.device_id for device in node.devices] == [4, 5, 6, 7]
        assert node.devices[0].device_ip == "192.168.100.102"
    with pytest.raises(UsageError, match="no device 4 among 4 visible"):
        this_machine("ascend910b", Choice(logical=(4,)), server_ip="10.0.0.5", probe=probe)
    with pytest.raises(UsageError, match="no device 0"):
        this_machine("ascend910b", Choice(visible=(0,)), server_ip="10.0.0.5", probe=probe)


def test_hccn_conf_alone_is_enough_when_devices_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    probe = Probe(hccn_conf=MACHINES / "container-4-7" / "hccn.conf", search=())
    node = this_machine("ascend910", Choice(logical=(0, 1)), server_ip="10.0.0.5", probe=probe)
    assert [device.device_ip for device in node.devices] == ["192.168.100.101", "192.168.101.101"]
    with pytest.raises(LauncherError, match="npu-smi is not installed"):
        this_machine("ascend910", Choice(), server_ip="10.0.0.5", probe=probe)
    with pytest.raises(LauncherError, match="npu-smi is not installed"):
        this_machine("atlas-a3", Choice(visible=(0,)), server_ip="10.0.0.5", probe=probe)


def test_own_address_is_not_loopback() -> None:
    assert not own_address().startswith("127.")


def test_a_map_of_addresses() -> None:
    text = "10.0.0.6:\n  0: 192.168.100.103\n  1: 192.168.101.103\n10.0.0.5: {0: 192.168.100.101}\n"
    nodes = from_map(text)
    assert [node.server_id for node in nodes] == ["10.0.0.6", "10.0.0.5"]
    assert nodes[0].devices == (DeviceAddress(0, "192.168.100.103"), DeviceAddress(1, "192.168.101.103"))
    assert from_map(json.dumps({"10.0.0.5": {"0": "192.168.100.101"}})) == nodes[1:]


def test_a_list_of_machines() -> None:
    text = """
- server_id: node-a
  host_ip: 10.0.0.5
  super_pod_id: 0
  devices:
    - {device_id: 0, device_ip: 192.168.100.101, super_device_id: 17}
"""
    node = from_map(text)[0]
    assert (node.super_pod_id, node.devices[0].super_device_id, node.host_ip) == ("0", "17", "10.0.0.5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a map"),
        ("[1, 2]", "server_id and devices"),
        ("a: [", "not a map of addresses"),
        ("a: {x: 1.2.3.4}", "'x' is no number"),
        ("a: 7", "needs its devices"),
        ("a: {0: 1.2.3.4}\nb: {0: 1.2.3.5}\na: {0: 1.2.3.6}", "a appears twice"),
        ("a: {0: 1.2.3.4, 0: 1.2.3.5}", "0 appears twice"),
        ("- {server_id: a, devices: {0: 1.2.3.4}, colour: red}", "unknown key 'colour'"),
        ("- {server_id: a, devices: [{device_id: 0, ip: 1.2.3.4}]}", "unknown key 'ip'"),
    ],
)
def test_bad_maps(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_map(text, where="machines.yaml")


def test_a_repeated_machine_is_shown_with_its_line() -> None:
    with pytest.raises(UsageError) as caught:
        from_map("a: {0: 1.2.3.4}\na: {0: 1.2.3.6}\n", where="machines.yaml")
    assert caught.value.where == "machines.yaml:2:1"


def test_a_plan() -> None:
    chip, table = from_plan('{"device": "ascend910", "nodes": 2, "devices_per_node": 8}')
    assert (chip, table.rank_count, table.is_placeholder) == ("ascend910", 16, True)
    nested = {"spec": {"resources": {"device": "ascend910b", "nodes": 1, "devices_per_node": 4}}}
    assert from_plan(json.dumps(nested))[1].rank_count == 4
    for text, words in (
        ("{", "not JSON"),
        ("{}", "not a plan"),
        (json.dumps({**nested["spec"]["resources"], "nodes": 0}), "at least 1"),
    ):
        with pytest.raises(UsageError, match=words):
            from_plan(text)
