"""Take values out of a rank table's JSON; what is odd about one becomes a finding instead of an error."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from launcher.findings import Finding, Severity
from launcher.ranktable.model import Extra

_FROM_PLATFORMS = frozenset(
    [
        "board_id",
        "chip_info",
        "cluster_list",
        "container_ip",
        "data_version",
        "deploy_mode",
        "device_num",
        "dpu_ip",
        "dpu_port",
        "group_name",
        "hardware_type",
        "host_name",
        "numa_id",
        "para_plane_nic_location",
        "para_plane_nic_name",
        "para_plane_nic_num",
        "pod_name",
        "rack_id",
        "rank_index",
        "server_hostname",
        "server_index",
        "server_ip",
        "server_name",
        "server_num",
        "super_pod_id",
        "tor_id",
        "tor_ip",
        "tor_list",
        "tor_port",
    ]
)
"""Keys that platforms add and HCCL ignores: kept as they are, and no misspelling of a key of ours."""


@dataclass(slots=True)
class Reader:
    """Takes values out of one document and collects findings. `where` names the document."""

    where: str
    found: list[Finding] = field(default_factory=list)
    typed: dict[str, tuple[int, int]] = field(default_factory=dict)

    def note(self, rule: str, severity: Severity, message: str, where: str = "", fix: str = "") -> None:
        self.found.append(Finding(rule, severity, message, where, fix))

    def pairs(self, items: list[tuple[str, object]]) -> dict[str, object]:
        """Build a JSON object; a key that appears twice is reported, the last one counts."""
        result = dict(items)
        if len(result) != len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            self.note("RT015", "error", f"key {twice!r} appears twice in one object", "", "Keep one of them.")
        return result

    def text(self, values: Mapping[str, object], key: str, where: str) -> str:
        value = values.get(key)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        self.wrong_type(key, where, "a string")
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""

    def number(self, values: Mapping[str, object], key: str, where: str, absent: int, *, text: bool) -> int:
        """An integer, spelled as a string when `text` (1.x) and as a number otherwise (2.0)."""
        value = values.get(key)
        if value is None or value == "":
            return absent
        if isinstance(value, bool) or not isinstance(value, int | str):
            self.note("RT015", "error", f"{key} is {value!r}, not an integer", where)
            return absent
        if isinstance(value, str) != text:
            self.wrong_type(key, where, "a string" if text else "a number")
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"[0-9]{1,10}", value):
            self.note("RT015", "error", f"{key} is {value!r}, not an integer", where)
            return absent
        return int(value)

    def wrong_type(self, key: str, where: str, wanted: str) -> None:
        """Report the first value of each key that has the other JSON type, and count the rest."""
        if key in self.typed:
            first, count = self.typed[key]
            self.typed[key] = (first, count + 1)
            return
        self.typed[key] = (len(self.found), 1)
        fix = "`rank-table convert` rewrites the file with the right types."
        self.note("RT014", "error", f"{key} must be {wanted}", where, fix)

    def finished(self) -> tuple[Finding, ...]:
        """Everything noted, repeated type mistakes with their number."""
        result = list(self.found)
        for first, count in self.typed.values():
            if count > 1:
                result[first] = replace(result[first], message=f"{result[first].message} ({count} values)")
        return tuple(result)

    def objects(self, values: Mapping[str, object], key: str, where: str) -> list[dict[str, object]]:
        value = values.get(key)
        if not isinstance(value, list):
            self.note("RT015", "error", f"{key} is missing or no list", where)
            return []
        entries = [item for item in value if isinstance(item, dict)]
        if len(entries) != len(value):
            self.note("RT015", "error", f"{key} has an entry that is no object", where)
        return entries

    def rest(self, values: Mapping[str, object], known: tuple[str, ...], where: str) -> Extra:
        unknown = [key for key in values if key not in known]
        for key in unknown:
            near = difflib.get_close_matches(key, known, 1, 0.75)
            if near and key not in _FROM_PLATFORMS:
                self.note("RT023", "warning", f"unknown key {key!r}", where, f"Did you mean {near[0]!r}?")
        return tuple((key, json.dumps(values[key])) for key in unknown)

    def count(self, values: Mapping[str, object], key: str, real: int, what: str, where: str = "") -> None:
        """Compare a declared count with the real one."""
        if key not in values:
            return
        declared = values[key]
        if str(declared) != str(real):
            self.note("RT013", "error", f"{key} says {declared}, but there are {real} {what}", where)
