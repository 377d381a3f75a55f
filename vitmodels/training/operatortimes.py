"""Reads what MindSpore's profiler wrote: the time of each kind of operator, and on CPU when each one ran."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitmodels.progress import write_atomic

_CPU_SUMS = "cpu_op_detail_info_*.csv"
_CPU_TIMES = "cpu_op_execute_timestamp_*.txt"
_NPU_KERNELS = "kernel_details.csv"


@dataclass(frozen=True)
class Operator:
    """All calls of one kind of operator. `ms` is their time together, `share` its part of all operators' time."""

    type: str
    calls: int
    ms: float
    share: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def operators_in(folder: Path) -> tuple[Operator, ...]:
    """The slowest first. Raises ValueError when the profiler wrote none."""
    calls: dict[str, int] = defaultdict(int)
    times: dict[str, float] = defaultdict(float)
    for kind, count, ms in (*_npu_kernels(folder), *_cpu_sums(folder)):
        calls[kind] += count
        times[kind] += ms
    total = sum(times.values())
    if not total:
        raise ValueError("the profiler has recorded no operator")
    slowest = sorted(times, key=lambda kind: -times[kind])
    return tuple(
        Operator(kind, calls[kind], round(times[kind], 6), round(times[kind] / total, 6)) for kind in slowest
    )


def _cpu_sums(folder: Path) -> Iterator[tuple[str, int, float]]:
    """A row for each operator of the graph."""
    for path in sorted(folder.rglob(_CPU_SUMS)):
        for row in _rows(path):
            yield row["op_type"], int(row["op_occurrences"]), float(row["op_total_time(ms)"])


def _npu_kernels(folder: Path) -> Iterator[tuple[str, int, float]]:
    """A row for each call of a kernel. MindSpore writes `Duration(us)`, CANN `Task Duration(us)`."""
    for path in sorted(folder.rglob(_NPU_KERNELS)):
        for row in _rows(path):
            kind = row.get("Type") or row.get("OP Type") or row["Name"]
            duration_us = row.get("Duration(us)") or row.get("Task Duration(us)") or "0"
            yield kind, 1, float(duration_us) / 1000


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        yield from csv.DictReader(file)


def write_timeline(folder: Path) -> None:
    """`trace_view.json`: each call on CPU, in the form of Chrome's traces."""
    events = [event for path in sorted(folder.rglob(_CPU_TIMES)) for event in _calls(path)]
    write_atomic(folder / "trace_view.json", json.dumps({"traceEvents": events}) + "\n")


def _calls(path: Path) -> Iterator[dict[str, Any]]:
    """A line is `name;kind;start duration thread start …`, by commas inside of one call: ns since 1970, ms, number."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, kind, calls = line.split(";", 2)
        for call in calls.split():
            start_ns, ms, thread = call.split(",")
            yield {
                "ph": "X",
                "name": name,
                "cat": kind,
                "pid": 0,
                "tid": int(thread),
                "ts": int(start_ns) / 1000,
                "dur": 1000 * float(ms),
            }
