"""Addresses of devices or a table in any form come in; a rank table goes out (which device is which rank), and findings on it.

table = load(path)                      any form, file or folder; `wait` until the platform completed it
table = generate(chip, nodes)           from explicit addresses; `placeholder_table` for plans
findings = lint(table, chip=chip)       what is wrong with it, by rule
table.write(path)                       complete or not at all
"""

from __future__ import annotations

from launcher.findings import Finding
from launcher.ranktable.chips import CHIPS, check_devices_per_node, legal_device_counts
from launcher.ranktable.generate import (
    DeviceAddress,
    NodeAddress,
    convert,
    generate,
    merge,
    placeholder_table,
)
from launcher.ranktable.lint import lint
from launcher.ranktable.model import Device, RankTable, Server, SuperPod
from launcher.ranktable.read import load, parse, wait
from launcher.ranktable.show import show

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
