"""Rank tables: which device of which machine is which rank.

    table = load(path)                      any form, file or folder; `wait` until the platform completed it
    table = generate(chip, nodes)           from explicit addresses; `placeholder_table` for plans
    findings = lint(table, chip=chip)       what is wrong with it, by rule
    table.write(path)                       complete or not at all

The parts: `ranktable_model` (values and text), `_read`, `_generate`, `_chips`, `_lint`, `_rules`, `_show`, `_sources`.
"""

from __future__ import annotations

from launcher.findings import Finding
from launcher.ranktable_chips import CHIPS, check_devices_per_node, legal_device_counts
from launcher.ranktable_generate import (
    DeviceAddress,
    NodeAddress,
    convert,
    generate,
    merge,
    placeholder_table,
)
from launcher.ranktable_lint import lint
from launcher.ranktable_model import Device, RankTable, Server, SuperPod
from launcher.ranktable_read import load, parse, wait
from launcher.ranktable_show import show

__all__ = [
    "CHIPS",
    "Device",
    "DeviceAddress",
    "Finding",
    "NodeAddress",
    "RankTable",
    "Server",
    "SuperPod",
    "check_devices_per_node",
    "convert",
    "generate",
    "legal_device_counts",
    "lint",
    "load",
    "merge",
    "parse",
    "placeholder_table",
    "show",
    "wait",
]
