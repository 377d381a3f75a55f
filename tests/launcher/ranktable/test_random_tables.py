"""Documents drawn at random break neither the reader nor lint."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import UsageError
from launcher.ranktable import (
    DeviceAddress,
    NodeAddress,
    generate,
    lint,
    merge,
    parse,
    show,
)
from tests.launcher.ranktable.tables import SAMPLES, V2
from tests.seeds import examples

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
