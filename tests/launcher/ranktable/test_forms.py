"""Forms of rank tables that platforms write: with ranks of their own, not completed, 1.3, compressed, with extra keys."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.findings import errors
from launcher.ranktable import RankTable, convert, lint, load, parse

SAMPLES = Path(__file__).parents[3] / "rank_tables"
Instance = dict[str, object]


def instance(server: int, device: int, rank: int | str | None) -> Instance:
    values: Instance = {
        "devices": [{"device_id": str(device), "device_ip": f"192.168.{100 + device}.{server}"}],
        "server_id": f"10.0.0.{server}",
    }
    return values if rank is None else values | {"rank_id": str(rank)}


def lab(instances: list[Instance], **group: str) -> str:
    servers = len({entry["server_id"] for entry in instances})
    head = {"device_num": str(len(instances)), "server_num": str(servers), "group_name": ""} | group
    body = {**head, "instance_count": str(len(instances)), "instance_list": instances}
    return json.dumps(
        {
            "board_id": "0x0020",
            "chip_info": "910",
            "deploy_mode": "lab",
            "group_count": "1",
            "group_list": [body],
            "para_plane_nic_location": "device",
            "para_plane_nic_name": ["eth0"],
            "para_plane_nic_num": "8",
            "status": "completed",
        }
    )


def ranks(table: RankTable) -> dict[tuple[str, int], int]:
    return {(server.server_id, d.device_id): d.rank_id for server, d in table.devices()}


def test_ranks_of_a_lab_table_are_kept_whatever_the_order_of_the_file() -> None:
    upper = [instance(2, k, 8 + k) for k in range(8)]
    lower = [instance(1, k, k) for k in reversed(range(8))]
    table = parse(lab(upper + lower))
    wanted = {(f"10.0.0.{1 + rank // 8}", rank % 8): rank for rank in range(16)}
    assert ranks(table) == wanted
    assert [d.rank_id for _, d in table.devices()] == list(range(16)), "listed by rank, as HCCL wants it"
    assert errors(lint(table, chip="ascend910", ranks=16, nodes=2)) == []
    assert ranks(parse(convert(table, "1.0").to_json())) == wanted


def test_ranks_that_differ_from_device_ids_are_kept() -> None:
    table = parse(lab([instance(1, k, (k + 3) % 8) for k in range(8)]))
    assert ranks(table) == {("10.0.0.1", k): (k + 3) % 8 for k in range(8)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([0] * 8, "rank 0 appears 8 times"),
        ([0, 1, 2, 3, 4, 5, 6, 8], "no device has rank 7"),
        ([0, 1, 2, None, 4, 5, 6, 7], "1 of 8 devices have no rank_id"),
        ([0, 1, 2, "x", 4, 5, 6, 7], "rank_id is 'x', not an integer"),
    ],
)
def test_doubles_and_gaps_of_a_lab_table_are_errors(given: list[int | str | None], words: str) -> None:
    table = parse(lab([instance(1, k, rank) for k, rank in enumerate(given)]))
    assert any(words in f.message for f in errors(lint(table, chip="ascend910"))), table.found


def test_a_rank_for_several_devices_is_an_error() -> None:
    one = instance(1, 0, 0)
    one["devices"] = [{"device_id": str(k), "device_ip": f"192.168.1.{k + 1}"} for k in (0, 1)]
    found = errors(lint(parse(lab([one], device_num="2")), chip="ascend910"))
    assert any("rank_id 0 is given to 2 devices" in f.message for f in found)


def test_ranks_of_devices_in_a_group_list_are_kept() -> None:
    one = instance(1, 0, None)
    one["devices"] = [
        {"device_id": str(k), "device_ip": f"192.168.1.{k + 1}", "rank_id": str(1 - k)} for k in (0, 1)
    ]
    assert ranks(parse(lab([one], device_num="2"))) == {("10.0.0.1", 0): 1, ("10.0.0.1", 1): 0}


def test_counts_of_a_lab_table_are_compared() -> None:
    text = lab([instance(1, k, k) for k in range(8)], device_num="7", server_num="2")
    messages = [f.message for f in errors(lint(parse(text), chip="ascend910"))]
    assert messages == [
        "device_num says 7, but there are 8 devices",
        "server_num says 2, but there are 1 servers",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"status":"initializing"}',
        '{"status": "initializing", "version": "1.0", "server_list": null}',
        '{"status": "initializing", "group_list": []}',
        json.dumps(
            {"status": "initializing", "group_list": [{"instance_list": [{"pod_name": "", "devices": []}]}]}
        ),
    ],
)
def test_a_table_that_is_being_written_is_not_completed_yet(text: str) -> None:
    table = parse(text, where="hccl.json")
    assert not table.completed
    messages = [str(f) for f in errors(lint(table, chip="ascend910", ranks=8)) if f.rule != "RT013"]
    assert len(messages) == 1
    assert "not completed yet" in messages[0]
    assert "hccl.json" in messages[0]


def test_a_completed_status_alone_is_no_rank_table() -> None:
    with pytest.raises(UsageError, match="not a rank table"):
        parse('{"status": "completed"}')


def super_pods(version: str = "1.3") -> dict[str, object]:
    document = json.loads((SAMPLES / "a3_super_pod_2x16p.json").read_text())
    document["version"] = version
    assert isinstance(document, dict)
    return document


def devices_of(document: dict[str, object]) -> list[dict[str, object]]:
    servers = document["server_list"]
    assert isinstance(servers, list)
    return [device for server in servers for device in server["device"]]


def test_version_1_3_is_read_checked_and_converted() -> None:
    table = parse(json.dumps(super_pods()))
    assert [(f.rule, f.severity) for f in lint(table, chip="atlas-a3")] == [("RT001", "info")]
    assert lint(convert(table, "1.2"), chip="atlas-a3") == []
    assert convert(table, "1.0").version == "1.0"
    broken = super_pods()
    devices_of(broken)[0]["super_device_id"] = devices_of(broken)[1]["super_device_id"]
    assert "RT020" in {f.rule for f in errors(lint(parse(json.dumps(broken)), chip="atlas-a3"))}


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_super_device_id_is_an_error(empty: str | None) -> None:
    document = super_pods("1.2")
    for device in devices_of(document):
        device["super_device_id"] = empty
    table = parse(json.dumps(document))
    assert any("super_device_id is empty" in f.message for f in errors(lint(table, chip="atlas-a3")))
    assert errors(lint(convert(table, "1.2"), chip="atlas-a3")), "writing it again doesn't hide it"


def test_no_super_device_id_is_server_mode() -> None:
    document = super_pods("1.2")
    for device in devices_of(document):
        del device["super_device_id"]
    found = lint(parse(json.dumps(document)), chip="atlas-a3")
    assert [(f.rule, f.severity) for f in found] == [("RT020", "warning")]
    assert "server mode" in found[0].message


def test_keys_of_platforms_are_known_and_kept() -> None:
    document = json.loads((SAMPLES / "hccl_2p.json").read_text())
    server_keys = {
        "server_ip": "10.0.0.5",
        "container_ip": "172.16.0.4",
        "hardware_type": "800-9000-A2",
        "server_name": "node-5",
    }
    device_keys = {"tor_ip": "10.1.0.1", "tor_port": "7", "dpu_ip": "10.2.0.1", "numa_id": "0"}
    document["server_list"][0] |= server_keys
    document["server_list"][0]["device"][0] |= device_keys
    table = parse(json.dumps(document))
    assert lint(table, chip="ascend910") == []
    written = json.loads(table.to_json())["server_list"][0]
    assert server_keys.items() <= written.items()
    assert device_keys.items() <= written["device"][0].items()


def test_keys_of_a_group_list_are_known_and_kept() -> None:
    one = instance(1, 0, None) | {
        "server_ip": "10.0.0.1",
        "container_ip": "172.16.0.4",
        "host_ip": "10.0.0.1",
    }
    table = parse(lab([one]))
    assert [f.rule for f in lint(table, chip="ascend910")] == ["RT025"]
    server = json.loads(table.to_json())["server_list"][0]
    assert (server["container_ip"], server["host_ip"]) == ("172.16.0.4", "10.0.0.1")


def test_a_misspelt_key_of_a_group_list_is_reported() -> None:
    one = instance(1, 0, None) | {"pod_nam": "x"}
    assert "RT023" in {f.rule for f in lint(parse(lab([one])), chip="ascend910")}


@pytest.mark.parametrize("form", ["gzip", "base64", "base64 in lines"])
def test_compressed_tables_are_read(tmp_path: Path, form: str) -> None:
    text = (SAMPLES / "hccl_16x8p.json").read_bytes()
    packed = gzip.compress(text)
    if form == "base64":
        packed = base64.b64encode(packed)
    elif form == "base64 in lines":
        packed = base64.encodebytes(packed)
    (tmp_path / "jobstart_hccl.json").write_bytes(packed)
    assert load(tmp_path).to_json() == load(SAMPLES / "hccl_16x8p.json").to_json()


@pytest.mark.parametrize("damage", ["cut", "base64", "gzip"])
def test_a_damaged_compressed_table_is_an_error(tmp_path: Path, damage: str) -> None:
    packed = gzip.compress((SAMPLES / "hccl_8p.json").read_bytes())
    file = tmp_path / "hccl.json"
    file.write_bytes(
        {
            "cut": base64.b64encode(packed[: len(packed) // 2]),
            "base64": base64.b64encode(packed)[:-9] + b"!",
            "gzip": packed[:20] + b"\0\0\0\0" + packed[24:],
        }[damage]
    )
    with pytest.raises(UsageError, match="a compressed rank table, but") as caught:
        load(file)
    assert str(file) in str(caught.value)
