"""What npu-smi, hccn_tool and hccn.conf say, through the stand-ins of tests/fakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.devices.inventory import DeviceInfo, addresses_of, check_devices, list_devices
from launcher.devices.npu import parse_address, parse_hccn_conf, parse_mapping, parse_super_pod
from launcher.devices.probe import Probe
from launcher.devices.processes import DeviceProcess
from launcher.errors import LauncherError
from tests.waiting import PATIENCE_S

FAKES = Path(__file__).parents[2] / "fakes"
MACHINES = FAKES / "machines"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Pretend to be one of tests/fakes/machines; returns a Probe that looks nowhere else."""

    def become(name: str, **options: object) -> Probe:
        monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_ASCEND", str(MACHINES / name))
        values = {
            "hccn_conf": MACHINES / name / "hccn.conf",
            "dev_dir": tmp_path,
            "search": (),
            "pci_dir": tmp_path,
            **options,
        }
        return Probe(**values)  # type: ignore[arg-type]

    return become


def test_a_910_server(machine) -> None:  # type: ignore[no-untyped-def]
    devices = list_devices("ascend910", probe=machine("ascend910"))
    assert [device.device_id for device in devices] == list(range(8))
    assert devices[5] == DeviceInfo(5, 5, "Ascend 910A", "OK", "192.168.101.102", npu_id=5, chip_id=0)


def test_the_numa_node_of_a_card_is_that_of_its_bus(machine, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for number, bus in enumerate(("0000:c1:00.0", "0000:c2:00.0")):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "numa_node").write_text(f"{1 - number}\n")
    devices = list_devices("ascend910b", probe=machine("ascend910b", pci_dir=tmp_path))
    assert [device.numa_node for device in devices[:3]] == [1, 0, -1]


def test_a_910b_server_with_a_user_and_a_sick_card(machine) -> None:  # type: ignore[no-untyped-def]
    devices = list_devices("ascend910b", probe=machine("ascend910b"))
    assert devices[2].processes == (DeviceProcess(133392, "python3", 37709), DeviceProcess(133401, "", 122))
    assert [device.health for device in devices] == ["OK"] * 5 + ["Warning"] + ["OK"] * 2
    found = check_devices(devices, [0, 2, 5, 9], own=[133401])
    assert [(f.rule, f.where) for f in found] == [
        ("DV003", "device 2"),
        ("DV002", "device 5"),
        ("DV001", "device 9"),
    ]
    assert "133392 (python3)" in found[0].message
    assert check_devices(devices, [0, 1]) == []


def test_a_super_pod_server(machine) -> None:  # type: ignore[no-untyped-def]
    devices = list_devices("atlas-a3", probe=machine("atlas-a3"))
    assert len(devices) == 16
    last = devices[13]
    assert (last.device_id, last.npu_id, last.chip_id) == (13, 6, 1)
    assert (last.super_device_id, last.super_pod_id) == ("4194317", "3")
    assert [process.pid for process in last.processes] == [308596]
    assert devices[12].processes == ()


@pytest.mark.parametrize("nodes", [True, False])
def test_physical_and_logical_ids_in_a_container(machine, tmp_path: Path, nodes: bool) -> None:  # type: ignore[no-untyped-def]
    for name in ("davinci4", "davinci5", "davinci6", "davinci7", "davinci_manager") if nodes else ():
        (tmp_path / name).touch()
    devices = list_devices("ascend910b", probe=machine("container-4-7"))
    assert [(device.device_id, device.logical_id) for device in devices] == [(4, 0), (5, 1), (6, 2), (7, 3)]
    assert devices[0].device_ip == "192.168.100.102", "hccn.conf is asked by physical id"


def test_a_foreign_process_is_found_by_its_open_device(machine, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for k in range(8):
        (tmp_path / f"davinci{k}").touch()
    code = f"import sys, time; f = open({str(tmp_path / 'davinci3')!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as foreign:
        assert foreign.stdout is not None
        foreign.stdout.readline()
        devices = list_devices("ascend910", addresses=False, probe=machine("ascend910"))
        foreign.terminate()
    assert [(d.device_id, [p.pid for p in d.processes]) for d in devices if d.processes] == [
        (3, [foreign.pid])
    ]
    assert devices[3].processes[0].name.startswith("python")


def test_cpu_slots() -> None:
    assert [slot.device_id for slot in list_devices("cpu")] == list(range(os.cpu_count() or 1))


def test_a_machine_without_the_driver_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LauncherError, match="npu-smi is not installed"):
        list_devices("ascend910", probe=Probe(search=()))


@pytest.mark.parametrize(
    ("mood", "timeout_s", "words"),
    [("fail", PATIENCE_S, "dcmi module initialize failed"), ("hang", 0.5, "no answer within")],
)
def test_a_broken_driver_is_reported(
    machine, monkeypatch: pytest.MonkeyPatch, mood: str, timeout_s: float, words: str
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("FAKE_NPU_SMI", mood)
    with pytest.raises(LauncherError, match=words):
        list_devices("ascend910", probe=machine("ascend910", timeout_s=timeout_s))


def test_addresses_fall_back_to_hccn_conf(machine, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    conf = tmp_path / "hccn.conf"
    conf.write_text("address_0=10.9.9.9\nnetmask_0=255.255.255.0\naddress_9=10.9.9.10\n")
    probe = machine("ascend910", hccn_conf=conf)
    assert addresses_of([0, 9, 10], probe) == {0: "192.168.100.101", 9: "10.9.9.10", 10: ""}


def test_an_unconfigured_card_keeps_its_placeholder(machine) -> None:  # type: ignore[no-untyped-def]
    assert addresses_of([0], machine("unconfigured")) == {0: "-.-.-.-"}


def test_parsers_on_odd_text() -> None:
    assert parse_mapping("") == []
    assert parse_mapping("no such table\n1 2 3 4\n") == []
    assert parse_address("ipaddr:10.1.2.3\nnetmask:255.255.255.0\n") == "10.1.2.3"
    assert parse_address("ipaddr:\nnetmask:\n") == ""
    assert parse_address("hccn_tool is busy, please try again") == ""
    assert parse_hccn_conf("# note\naddress_0=1.2.3.4\naddress_x=9\nnetmask_0=5.6.7.8\n") == {0: "1.2.3.4"}
    assert parse_hccn_conf("address_0=1.2.3.4\nIPv6address_0=fe80::1\nIPv6address_1=fe80::2\n") == {
        0: "1.2.3.4",
        1: "fe80::2",
    }
    boxed = "| Super Pod ID                 : 3          | Pod ID : 1          |\n| SDID : 17 |"
    assert parse_super_pod(boxed) == ("17", "3")
