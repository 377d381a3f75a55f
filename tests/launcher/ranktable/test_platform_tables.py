"""What a platform writes: group lists, version 2, tables that grow, and what is no table."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path

import pytest

from launcher.errors import PlanError, UsageError
from launcher.ranktable import (
    convert,
    generate,
    lint,
    load,
    parse,
    show,
    wait,
)
from tests.launcher.ranktable.tables import V2, group_list, node, ranks
from tests.waiting import wait_until


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
