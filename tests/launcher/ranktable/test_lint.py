"""Every rule: a table that breaks it, and only it; and the plain table that breaks none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UsageError
from launcher.ranktable import lint, parse
from launcher.ranktable.lint import SHOWN_PER_RULE, lint_here
from launcher.ranktable.rules import RULES, explain

SAMPLES = Path(__file__).parents[3] / "rank_tables"
Document = dict[str, Any]
Change = Callable[[Document], None]

A950: Document = {
    "version": "2.0",
    "status": "completed",
    "rank_count": 1,
    "rank_list": [
        {
            "rank_id": 0,
            "local_id": 0,
            "device_id": 0,
            "level_list": [
                {
                    "net_layer": 0,
                    "net_instance_id": "rack0",
                    "net_type": "TOPO_FILE_DESC",
                    "net_attr": "",
                    "rank_addr_list": [{"addr_type": "IPV4", "addr": "172.16.0.10", "ports": ["1/0"]}],
                }
            ],
        }
    ],
}


def sample(name: str) -> Document:
    if name == "a950":
        document: Document = json.loads(json.dumps(A950))
        return document
    files = {
        "1p": "hccl_1p",
        "8p": "hccl_8p",
        "2x8p": "hccl_2x8p",
        "a3": "a3_super_pod_2x16p",
        "ma": "modelarts_2x8p",
    }
    loaded: Document = json.loads((SAMPLES / f"{files[name]}.json").read_text())
    return loaded


def server(k: int) -> Callable[[Document], Document]:
    return lambda document: document["server_list"][k]


def device(document: Document, s: int, d: int) -> Document:
    found: Document = document["server_list"][s]["device"][d]
    return found


def setting(s: int, d: int, **values: str) -> Change:
    return lambda document: device(document, s, d).update(values)


def on_server(k: int, **values: str) -> Change:
    return lambda document: document["server_list"][k].update(values)


def on_top(**values: Any) -> Change:
    return lambda document: document.update(values)


def level(**values: Any) -> Change:
    return lambda document: document["rank_list"][0]["level_list"][0].update(values)


def keep(s: int, ids: list[int]) -> Change:
    """Only these devices of a server, ranks of the whole table renumbered."""

    def change(document: Document) -> None:
        document["server_list"][s]["device"] = [device(document, s, k) for k in ids]
        renumber(document)

    return change


def renumber(document: Document) -> None:
    rank = 0
    for entry in document["server_list"]:
        for values in entry["device"]:
            values["rank_id"] = str(rank)
            rank += 1


def swap_ranks(document: Document) -> None:
    one, other = device(document, 0, 7), device(document, 1, 0)
    one["rank_id"], other["rank_id"] = other["rank_id"], one["rank_id"]


def drop(s: int, d: int, key: str) -> Change:
    return lambda document: device(document, s, d).pop(key) and None


def third_pod(document: Document) -> None:
    """Pods 0, 1, 0: the third server goes on with the first pod."""
    extra = json.loads(
        json.dumps(document["server_list"][1])
        .replace("10.0.1.6", "10.0.1.7")
        .replace("192.168.11", "192.168.21")
    )
    for k, values in enumerate(extra["device"]):
        values["super_device_id"] = str(9000 + k)
    document["server_list"].append(extra)
    document["server_count"] = "3"
    renumber(document)
    document["super_pod_list"] = [
        {"super_pod_id": "0", "server_list": [{"server_id": "10.0.1.5"}, {"server_id": "10.0.1.7"}]},
        {"super_pod_id": "1", "server_list": [{"server_id": "10.0.1.6"}]},
    ]


def twice(document: Document) -> None:
    """The second machine has the first one's name."""
    document["server_list"][1]["server_id"] = document["server_list"][0]["server_id"]


CASES: list[tuple[str, str, str, Change, str]] = [
    ("RT001", "ascend910", "8p", on_top(version="1.2"), "reads 1.0"),
    ("RT001", "ascend910", "8p", lambda d: d.pop("version") and None, "no version"),
    ("RT001", "atlas-a3", "a950", on_top(), "reads 1.2 or 1.0"),
    ("RT002", "ascend910", "8p", on_top(status="initializing"), "'initializing'"),
    ("RT003", "ascend910", "1p", setting(0, 0, rank_id="1"), "rank 1 in a table of 1"),
    ("RT003", "ascend910", "8p", setting(0, 3, rank_id="4"), "rank 4 appears 2 times"),
    ("RT003", "ascend910", "8p", drop(0, 2, "rank_id"), "1 of 8 devices have no rank_id"),
    ("RT004", "ascend910", "2x8p", swap_ranks, "ranks of server 10.0.0.6 lie between"),
    ("RT005", "ascend910b", "8p", setting(0, 1, device_id="0", device_ip="192.168.100.101"), "device 0 appears 2"),
    ("RT006", "ascend910", "2x8p", setting(1, 0, device_ip="192.168.100.101"), "is also device 0 of server 10.0.0.5"),
    ("RT007", "ascend910", "8p", keep(0, [0, 1, 2]), "3 devices"),
    ("RT007", "ascend910", "8p", keep(0, [2, 3, 4, 5]), "both groups 0-3 and 4-7"),
    ("RT007", "ascend910", "8p", setting(0, 7, device_id="8"), "device 8 does not exist"),
    ("RT007", "atlas-a3", "a3", lambda d: (keep(0, [1, 2])(d), keep(1, [0, 1])(d), None)[2], "without 0, the other half"),
    ("RT008", "ascend910", "2x8p", twice, "appears 2 times"),
    ("RT009", "ascend910", "1p", on_server(0, server_id="n" * 65), "65 characters"),
    ("RT009", "ascend910", "1p", on_server(0, server_id=""), "no server_id"),
    ("RT010", "ascend910", "2x8p", on_server(1, server_id="127.0.1.1"), "loopback"),
    ("RT011", "ascend910", "1p", drop(0, 0, "device_ip"), "always needs it"),
    ("RT011", "ascend910b", "2x8p", drop(1, 7, "device_ip"), "several servers"),
    ("RT012", "ascend910", "1p", setting(0, 0, device_ip="-.-.-.-"), "not configured"),
    ("RT012", "ascend910", "1p", setting(0, 0, device_ip="192.0.2.7"), "reserved for documentation"),
    ("RT012", "ascend910", "1p", setting(0, 0, device_ip="10.0.0.256"), "no IP address"),
    ("RT012", "ascend910", "1p", setting(0, 0, device_ip="0.0.0.0"), "can't be the address"),
    ("RT029", "ascend910", "8p", setting(0, 3, device_ip="fe80::5"), "device_ip fe80::5 is IPv6, as 1 of 8 are"),
    ("RT013", "ascend910", "8p", on_top(server_count="2"), "server_count says 2, but there are 1"),
    ("RT013", "ascend950", "a950", on_top(rank_count=2), "rank_count says 2"),
    ("RT013", "ascend910", "ma", lambda d: d["group_list"][0].update(device_count="7"), "device_count says 7"),
    ("RT014", "ascend910", "8p", lambda d: device(d, 0, 0).update(device_id=0), "must be a string"),
    ("RT014", "ascend910", "8p", on_top(server_count=1), "server_count must be a string"),
    ("RT014", "ascend950", "a950", lambda d: d["rank_list"][0].update(rank_id="0"), "must be a number"),
    ("RT015", "ascend910", "1p", lambda d: d["server_list"].append("x"), "no object"),
    ("RT017", "ascend910", "2x8p", keep(1, [0, 1, 2, 3]), "4 devices, but server 10.0.0.5 has 8"),
    ("RT018", "atlas-a3", "a3", third_pod, "super pod 0 goes on here"),
    ("RT019", "atlas-a3", "a3", lambda d: d["super_pod_list"][0]["server_list"].pop() and None, "is in no super pod"),
    ("RT019", "atlas-a3", "a3", lambda d: d["super_pod_list"].append({"super_pod_id": "9", "server_list": [{"server_id": "x"}]}), "'x' is not in server_list"),
    ("RT020", "atlas-a3", "a3", drop(1, 3, "super_device_id"), "no super_device_id"),
    ("RT020", "atlas-a3", "a3", setting(1, 0, super_device_id="4194304"), "is also server 10.0.1.5, device 0"),
    ("RT021", "ascend910b", "8p", setting(0, 0, device_port="70000"), "not within 1 to 65535"),
    ("RT021", "atlas-a3", "a3", lambda d: (setting(0, 0, host_port="6000")(d), setting(0, 1, host_port="6000")(d), None)[2], "given to 2 devices"),
    ("RT024", "atlas-a3", "a3", setting(0, 0, backup_device_ip="192.168.112.101"), "not of the same card"),
    ("RT024", "atlas-a3", "a3", setting(0, 0, backup_device_ip="192.168.110.101"), "own address"),
    ("RT026", "ascend950", "a950", level(net_layer=1), "must start at 0"),
    ("RT026", "ascend950", "a950", level(net_type="CLOS"), "not TOPO_FILE_DESC"),
    ("RT026", "ascend950", "a950", level(rank_addr_list=[]), "0 addresses"),
    ("RT026", "ascend950", "a950", level(rank_addr_list=[{"addr_type": "EID", "addr": "12", "ports": []}]), "no EID"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "chip", "name", "change", "words"), CASES, ids=[f"{case[0]}-{k}" for k, case in enumerate(CASES)]
)
def test_a_broken_rule_is_found(rule: str, chip: str, name: str, change: Change, words: str) -> None:
    document = sample(name)
    change(document)
    found = lint(parse(json.dumps(document)), chip=chip)
    mine = [f for f in found if f.rule == rule and f.severity == "error"]
    assert any(words in f.message for f in mine), found
    assert rule in RULES


WARNINGS: list[tuple[str, str, str, Change]] = [
    ("RT001", "atlas-a3", "8p", on_top()),
    ("RT010", "ascend910", "1p", on_server(0, server_id="localhost")),
    ("RT017", "ascend910b", "2x8p", keep(1, [0, 1, 2, 3])),
    ("RT017", "ascend910", "2x8p", lambda d: (keep(0, [0, 1, 2, 3])(d), keep(1, [4, 5, 6, 7])(d), None)[2]),
    ("RT020", "atlas-a3", "a3", lambda d: d.pop("super_pod_list") and None),
    ("RT021", "ascend910b", "8p", setting(0, 0, device_port="80")),
    ("RT022", "ascend910", "8p", on_server(0, host_ip="node-5")),
    ("RT023", "ascend910", "8p", setting(0, 0, device_ipp="x")),
    ("RT025", "ascend910", "ma", on_top()),
    ("RT027", "cpu", "8p", on_top()),
]


@pytest.mark.parametrize(
    ("rule", "chip", "name", "change"), WARNINGS, ids=[f"{case[0]}-{k}" for k, case in enumerate(WARNINGS)]
)
def test_odd_values_are_findings_and_no_errors(rule: str, chip: str, name: str, change: Change) -> None:
    document = sample(name)
    change(document)
    found = lint(parse(json.dumps(document)), chip=chip)
    assert [f.rule for f in found] == [rule], found
    assert found[0].severity != "error"


def test_plan_rule() -> None:
    table = parse(json.dumps(sample("2x8p")), where="hccl.json")
    assert lint(table, chip="ascend910", ranks=16, nodes=2) == []
    found = lint(table, chip="ascend910", ranks=8, nodes=1)
    assert [(f.rule, f.where) for f in found] == [("RT016", "hccl.json"), ("RT016", "hccl.json")]


def test_here_rule() -> None:
    table = parse(json.dumps(sample("1p")))
    assert lint_here(table, "10.0.0.5", {0: "192.168.100.101"}) == []
    assert "the network card says 192.168.9.9" in lint_here(table, "10.0.0.5", {0: "192.168.9.9"})[0].message
    assert "no such device" in lint_here(table, "10.0.0.5", {})[0].message
    assert "not in the table" in lint_here(table, "10.0.0.99", {})[0].message


def test_a_key_twice_is_found() -> None:
    text = json.dumps(sample("1p")).replace('"rank_id": "0"', '"rank_id": "0", "rank_id": "0"')
    assert [f.rule for f in lint(parse(text), chip="ascend910")] == ["RT015"]


def test_several_processes_on_one_device_need_ports() -> None:
    document = sample("8p")
    keep(0, [0, 1])(document)
    for k in (0, 1):
        device(document, 0, k).update(device_id="0", device_ip="192.168.100.101", device_port=str(16666 + k))
    assert lint(parse(json.dumps(document)), chip="ascend910b") == []
    assert "RT005" in {f.rule for f in lint(parse(json.dumps(document)), chip="ascend910")}
    device(document, 0, 1)["device_port"] = "16666"
    assert "RT005" in {f.rule for f in lint(parse(json.dumps(document)), chip="ascend910b")}


def test_many_findings_are_counted() -> None:
    document = json.loads((SAMPLES / "hccl_16x8p.json").read_text())
    for entry in document["server_list"]:
        for values in entry["device"]:
            values["device_ip"] = "-.-.-.-"
    found = lint(parse(json.dumps(document)), chip="ascend910")
    assert len(found) == SHOWN_PER_RULE + 1
    assert found[-1].message == f"and {128 - SHOWN_PER_RULE} more like this"


def test_every_rule_is_tested_and_explained() -> None:
    tested = {case[0] for case in CASES} | {case[0] for case in WARNINGS} | {"RT016", "RT028"}
    assert tested == set(RULES)
    for rule_id in RULES:
        assert explain(rule_id.lower()).startswith(rule_id)
    with pytest.raises(UsageError, match="RT007"):
        explain("RT07")
