"""Tables as values and text: generate, read, write, merge, convert, wait, show."""

from __future__ import annotations

import cProfile
import json
import os
import stat
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import PlanError, UsageError
from launcher.ranktable import (
    DeviceAddress,
    NodeAddress,
    RankTable,
    convert,
    generate,
    legal_device_counts,
    lint,
    load,
    merge,
    parse,
    placeholder_table,
    show,
    wait,
)
from tests.seeds import examples
from tests.waiting import wait_until

SAMPLES = Path(__file__).parents[3] / "rank_tables"


def node(index: int, count: int = 8, *, sdid: bool = False) -> NodeAddress:
    devices = tuple(
        DeviceAddress(k, f"192.168.{100 + k}.{index + 1}", str(100 * index + k) if sdid else "")
        for k in range(count)
    )
    return NodeAddress(f"10.0.0.{index + 1}", devices, super_pod_id=str(index // 2) if sdid else "")


def group_list(*pods: tuple[str, str, int], status: str = "completed") -> dict[str, object]:
    instances = [
        {
            "pod_name": name,
            "server_id": server,
            "devices": [{"device_id": str(k), "device_ip": f"192.168.{k}.{i + 1}"} for k in range(count)],
        }
        for i, (name, server, count) in enumerate(pods)
    ]
    total = sum(count for _, _, count in pods)
    group = {"group_name": "job", "device_count": str(total), "instance_count": str(len(pods))}
    return {"status": status, "group_count": "1", "group_list": [{**group, "instance_list": instances}]}


def ranks(table: RankTable) -> list[tuple[str, int, int]]:
    return [(server.server_id, device.device_id, device.rank_id) for server, device in table.devices()]


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


def test_group_list_follows_pod_numbers_not_file_order() -> None:
    document = group_list(("job-worker-10", "10.0.0.30", 1), ("job-worker-2", "10.0.0.20", 2))
    table = parse(json.dumps(document))
    assert ranks(table) == [("10.0.0.20", 0, 0), ("10.0.0.20", 1, 1), ("10.0.0.30", 0, 2)]
    assert [
        finding.rule
        for finding in lint(table, chip="ascend910b", ranks=3, nodes=2)
        if finding.rule != "RT017"
    ] == ["RT025"]


def test_pods_of_one_machine_become_one_server() -> None:
    document = group_list(("w-0", "10.0.0.1", 1), ("w-1", "10.0.0.2", 1), ("w-2", "10.0.0.1", 1))
    table = parse(json.dumps(document))
    assert [(server.server_id, len(server.devices)) for server in table.servers] == [
        ("10.0.0.1", 2),
        ("10.0.0.2", 1),
    ]
    assert [device.rank_id for _, device in table.devices()] == [0, 1, 2]
    assert [device.rank_id for device in table.of_pod("w-2")] == [1], "each pod still knows its ranks"
    assert "pod" not in table.to_json()


def test_what_the_model_has_no_field_for_survives() -> None:
    document = json.loads(generate("ascend910", [node(0, 1)]).to_json())
    document["server_list"][0]["container_ip"] = "172.17.0.2"
    document["server_list"][0]["device"][0]["hardware_type"] = "910"
    table = parse(json.dumps(document))
    assert json.loads(table.to_json()) == document
    assert lint(table, chip="ascend910") == []


def test_numbers_where_strings_belong_are_read_and_repaired() -> None:
    document = json.loads(generate("ascend910", [node(0, 2)]).to_json())
    for device in document["server_list"][0]["device"]:
        device["rank_id"] = int(device["rank_id"])
    table = parse(json.dumps(document))
    assert [(f.rule, f.severity) for f in lint(table, chip="ascend910")] == [("RT014", "error")]
    assert "(2 values)" in lint(table, chip="ascend910")[0].message
    assert lint(convert(table, "1.0"), chip="ascend910") == []


V2 = {
    "status": "completed",
    "version": "2.0",
    "rank_count": 4,
    "rank_list": [
        {
            "rank_id": rank,
            "local_id": rank % 2,
            "device_id": rank % 2,
            "device_port": 16666 + rank,
            "level_list": [
                {
                    "net_layer": 0,
                    "net_instance_id": f"rack{rank // 2}",
                    "net_type": "TOPO_FILE_DESC",
                    "net_attr": "",
                    "rank_addr_list": [
                        {"addr_type": "EID", "addr": f"{rank:032x}", "ports": ["1/0"], "plane_id": "plane0"}
                    ],
                }
            ],
        }
        for rank in range(4)
    ],
}


def test_version_2_is_grouped_and_written_back() -> None:
    table = parse(json.dumps(V2))
    assert [len(server.devices) for server in table.servers] == [2, 2]
    assert json.loads(table.to_json()) == V2
    for chip in ("ascend950", "ascend850", "ascend350"):
        assert lint(table, chip=chip, ranks=4, nodes=2) == []
    assert "rank 3" in show(table)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is its writer still at work"),
        ("{", "not JSON"),
        ("[]", "not a rank table"),
        ('{"server_list": {}}', "not a rank table"),
        ("null", "not a rank table"),
        ("[" * 100_000, "not a rank table"),
        ('{"server_list": [' + "9" * 5000 + "]}", "not a rank table"),
    ],
)
def test_what_is_no_table_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(text, where="hccl.json")


def test_load_finds_the_file_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"jobstart_hccl\.json"):
        load(tmp_path)
    (tmp_path / "other.json").write_text(generate("ascend910", [node(0, 1)]).to_json())
    assert load(tmp_path).rank_count == 1
    (tmp_path / "jobstart_hccl.json").write_text(json.dumps(group_list(("w-0", "10.0.0.1", 4))))
    assert load(tmp_path).rank_count == 4
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load(tmp_path / "bad.json")
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "other.json").read_bytes())
    assert load(tmp_path / "bom.json").rank_count == 1


def test_wait_sees_the_table_grow(tmp_path: Path) -> None:
    path = tmp_path / "jobstart_hccl.json"
    lines: list[str] = []

    def platform() -> None:
        texts = (
            '{"status": "initializing", "group_list": []}',
            '{"status": "comp',
            json.dumps(group_list(("w-0", "10.0.0.1", 8))),
        )
        for number, text in enumerate(texts, 1):
            wait_until(partial(lambda seen: len(lines) >= seen, number))
            half = tmp_path / "half"
            half.write_text(text)
            half.replace(path)  # a reader never sees the empty file between two texts

    writer = threading.Thread(target=platform)
    writer.start()
    table = wait(tmp_path, 60, lines.append, poll_s=0.02)
    writer.join()
    assert (table.version, table.rank_count) == ("1.0", 8)
    assert "no rank table here" in lines[0]
    assert any("'initializing'" in line for line in lines)
    assert len(lines) == len(set(lines)) == 3, "a line only when something has changed"


def test_wait_gives_up_and_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    path.write_text('{"status": "initializing", "group_list": []}')
    with pytest.raises(PlanError, match=r"after 0\.1 s: .*'initializing'"):
        wait(path, 0.1, poll_s=0.02)


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


KEYS = [
    "server_list",
    "device",
    "device_id",
    "rank_id",
    "server_id",
    "group_list",
    "instance_list",
    "devices",
    "rank_list",
    "level_list",
    "net_layer",
    "status",
    "version",
    "super_pod_list",
    "pod_name",
    "note",
    "server_count",
    "rank_addr_list",
    "ports",
    "device_ip",
    "device_port",
]
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70000) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=examples(20, 600))
@given(
    json_values,
    st.sampled_from(["server_list", "group_list", "rank_list"]),
    st.lists(json_values, max_size=3),
)
def test_no_document_breaks_the_reader_or_lint(base: object, key: str, entries: list[object]) -> None:
    document = {**base, key: entries} if isinstance(base, dict) else base
    try:
        table = parse(json.dumps(document))
    except UsageError:
        return
    for chip in ("ascend910", "atlas-a3", "ascend950", "cpu"):
        lint(table, chip=chip, ranks=4, nodes=2)
    show(table)
    parse(table.to_json())


@settings(max_examples=examples(20, 600))
@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(0, 2**16))
def test_text_and_value_are_the_same(shape: list[int], offset: int) -> None:
    nodes = [
        NodeAddress(
            f"host-{k}",
            tuple(
                DeviceAddress(d, f"10.{k}.{d}.{offset % 250 + 1}", device_port=offset % 65535)
                for d in range(n)
            ),
        )
        for k, n in enumerate(shape)
    ]
    table = generate("ascend910b", nodes)
    assert parse(table.to_json()) == table
    assert parse(table.to_json()).to_json() == table.to_json()
    assert merge([generate("ascend910b", [one]) for one in nodes]) == table


def places(document: object) -> list[tuple[object, object]]:
    """Every (container, key) of a JSON document."""
    items: list[tuple[object, object]] = []
    if isinstance(document, dict):
        items = [(document, key) for key in document]
    elif isinstance(document, list):
        items = [(document, k) for k in range(len(document))]
    return items + [place for container, key in items for place in places(container[key])]  # type: ignore[index]


@settings(max_examples=examples(20, 600))
@given(
    st.sampled_from(["hccl_2p", "a3_super_pod_2x16p", "modelarts_2x8p", "v2"]),
    st.integers(0, 10**6),
    json_values,
)
def test_any_one_value_replaced_is_survived(name: str, where: int, value: object) -> None:
    document = json.loads(json.dumps(V2) if name == "v2" else (SAMPLES / f"{name}.json").read_text())
    found = places(document)
    container, key = found[where % len(found)]
    container[key] = value  # type: ignore[index]
    try:
        table = parse(json.dumps(document))
    except UsageError:
        return
    chip = {"a3_super_pod_2x16p": "atlas-a3", "v2": "ascend950"}.get(name, "ascend910")
    lint(table, chip=chip)
    show(table)
    parse(table.to_json())
