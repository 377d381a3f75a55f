"""Devices whose tables disagree, have no bus id, or are another chip than asked for: nothing is guessed in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.devices.inventory import DeviceInfo, check_addresses, check_chip, check_devices, list_devices
from launcher.devices.npu import chip_named, parse_health
from launcher.devices.probe import Probe
from launcher.errors import LauncherError, UsageError
from launcher.findings import Finding
from launcher.ranktable.sources import Choice, this_machine

FAKES = Path(__file__).parents[2] / "fakes"
HEADING = "\tNPU ID    Chip ID    Chip Logic ID    Chip Name"
INFO_HEAD = (
    "+---------------------------+---------------+-----------------------------+\n"
    "| NPU   Name                | Health        | Power(W)    Temp(C)         |\n"
    "| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)|\n"
    "+===========================+===============+=============================+\n"
)


def info(*devices: tuple[int, str, str, str]) -> str:
    """`npu-smi info` with one device a card: NPU id, name, health, bus id."""
    return INFO_HEAD + "".join(
        f"| {npu:<6}{name:<20}| {health:<14}| 91.3        33              |\n"
        f"| 0                         | {bus:<14}| 0           0    / 0        |\n"
        for npu, name, health, bus in devices
    )


def mapping(*cards: tuple[int, int, str]) -> str:
    """`npu-smi info -m` without physical ids: NPU id, logical id, name."""
    return (
        "\n".join([HEADING, *(f"\t{npu}    0    {logical}    {name}" for npu, logical, name in cards)]) + "\n"
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of a machine that the stand-in for npu-smi prints."""
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ASCEND", str(tmp_path))
    (tmp_path / "dev").mkdir()
    return tmp_path


def probe(machine: Path) -> Probe:
    return Probe(
        hccn_conf=machine / "hccn.conf", dev_dir=machine / "dev", pci_dir=machine, search=(), timeout_s=120
    )


def become(machine: Path, mapped: str, shown: str) -> Probe:
    (machine / "map.txt").write_text(mapped)
    (machine / "info.txt").write_text(shown)
    return probe(machine)


def rules(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(f.rule, f.severity, f.where) for f in findings]


@pytest.mark.parametrize("bus", ["NA", "N/A", "-", "0000:C1:00.0"])
def test_both_chips_are_read_whatever_the_bus(bus: str) -> None:
    rows = parse_health(info((0, "910B4-1", "OK", bus), (1, "910B4-1", "Critical", bus)))
    assert [(row.npu_id, row.chip_id, row.name, row.health) for row in rows] == [
        (0, 0, "910B4-1", "OK"),
        (1, 0, "910B4-1", "Critical"),
    ]
    assert {row.bus_id for row in rows} == {bus.lower() if ":" in bus else ""}


def test_a_sick_chip_without_a_bus_is_found(machine: Path) -> None:
    found = become(
        machine,
        mapping((0, 0, "910B4"), (1, 1, "910B4")),
        info((0, "910B4-1", "OK", "NA"), (1, "910B4-1", "Critical", "NA")),
    )
    devices = list_devices("ascend910b", probe=found)
    assert rules(check_devices(devices, [0, 1])) == [("DV002", "error", "device 1")]


def test_a_chip_that_info_lacks_is_an_error(machine: Path) -> None:
    found = become(machine, mapping((0, 0, "910B4"), (1, 1, "910B4")), info((0, "910B4", "OK", "NA")))
    devices = list_devices("ascend910b", probe=found)
    assert rules(check_devices(devices, [0, 1])) == [("DV004", "error", "device 1")]


def test_card_numbers_that_are_no_device_ids_are_refused(machine: Path) -> None:
    cards = (10, 12, 14, 16)
    found = become(
        machine,
        mapping(*((npu, k, "910B4") for k, npu in enumerate(cards))),
        info(*((npu, "910B4", "OK", "NA") for npu in cards)),
    )
    with pytest.raises(LauncherError, match="cards 10, 12, 14, 16 are no device ids"):
        list_devices("ascend910b", probe=found)
    for k in range(4):
        (machine / "dev" / f"davinci{k}").touch()
    assert [device.device_id for device in list_devices("ascend910b", probe=found)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("Ascend 910A", "ascend910"),
        ("910ProB", "ascend910"),
        ("910PremiumA", "ascend910"),
        ("Ascend 910B3", "ascend910b"),
        ("910B2C", "ascend910b"),
        ("910B4-1", "ascend910b"),
        ("Ascend910_9392", "atlas-a3"),
        ("310P3", "ascend310p"),
        ("Ascend950PR", "ascend950"),
        ("Ascend 850", "ascend850"),
        ("350", "ascend350"),
        ("Ascend910", ""),
        ("910B", ""),
        ("", ""),
    ],
)
def test_names_of_chips(name: str, chip: str) -> None:
    assert chip_named(name) == chip


@pytest.mark.parametrize(
    ("asked", "name", "chip_id", "wrong"),
    [
        ("ascend910b", "Ascend910", 1, True),  # two devices a card: an Atlas A3
        ("atlas-a3", "Ascend910", 1, False),
        ("ascend910", "Ascend910", 0, False),
        ("ascend910", "910B3", 0, True),
        ("ascend910b", "910B3", 0, False),
        ("ascend910", "310P3", 0, True),
        ("ascend910b", "", 0, False),
    ],
)
def test_the_chip_asked_for_is_compared(asked: str, name: str, chip_id: int, wrong: bool) -> None:
    devices = [DeviceInfo(0, 0, name, npu_id=0), DeviceInfo(1, 1, name, npu_id=0, chip_id=chip_id)]
    found = check_chip(asked, devices)
    assert [f.rule for f in found] == (["DV005"] if wrong else [])


def test_an_a3_is_not_taken_for_a_910b(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / "atlas-a3"))
    with pytest.raises(UsageError, match="atlas-a3, but ascend910b was asked for"):
        this_machine("ascend910b", Choice(), server_ip="10.0.0.5", probe=probe(machine))
    assert len(this_machine("atlas-a3", Choice(), server_ip="10.0.0.5", probe=probe(machine)).devices) == 16


def test_a_difference_to_hccn_conf_is_a_warning(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    monkeypatch.setenv("FAKE_ASCEND", str(FAKES / "machines" / "ascend910"))
    (machine / "hccn.conf").write_text("address_0=192.168.100.101\naddress_1=10.9.9.9\n")
    found = check_addresses([0, 1, 2], probe(machine))
    assert rules(found) == [("DV006", "warning", "device 1")]
    assert "10.9.9.9" in found[0].message
    (machine / "hccn.conf").unlink()
    assert check_addresses([0, 1], probe(machine)) == []
