"""Check a rank table against its chip and the run it is for. The rules are explained in `rules`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from launcher.findings import Finding, Severity
from launcher.ranktable.chips import Chip, chip_of, device_set_problem
from launcher.ranktable.lint_addresses import (
    check_addresses,
    check_families,
    check_host_addresses,
    check_repeated_addresses,
    check_server_ids,
)
from launcher.ranktable.lint_pods import (
    check_backups,
    check_layers,
    check_pods,
    check_ports,
    check_super_devices,
)
from launcher.ranktable.model import UNKNOWN, RankTable

SHOWN_PER_RULE = 8
"""Findings of one rule beyond this number are counted, not listed."""


def lint(
    table: RankTable, *, chip: str, ranks: int | None = None, nodes: int | None = None, planned: bool = False
) -> list[Finding]:
    """Every rule that `table` breaks, in the order of the rules.

    `ranks` and `nodes` are what the run needs. `planned` is for the placeholder table of a plan: its
    placeholders are reported as notes. Raises UsageError for an unknown chip.
    """
    known = chip_of(chip)
    findings = [replace(finding, where=_place(table.source, finding.where)) for finding in table.found]
    if known.name == "cpu":
        message = "CPU ranks find each other through MS_SCHED_HOST and read no rank table"
        findings.append(Finding("RT027", "warning", message, table.source))
    if table.unwritten:
        return [*findings, *_status(table, known)]
    for check in _CHECKS:
        findings.extend(check(table, known))
    findings.extend(_plan(table, ranks, nodes))
    if planned:
        findings = [replace(f, severity="info") if f.rule in ("RT002", "RT012") else f for f in findings]
    return _shortened(sorted(findings, key=lambda finding: finding.rule))


def lint_here(table: RankTable, server_id: str, addresses: Mapping[int, str]) -> list[Finding]:
    """Compare the table with what this machine's devices say: physical id -> address (RT028)."""
    server = table.server(server_id)
    if server is None:
        message = f"this machine ({server_id}) is not in the table"
        return [Finding("RT028", "error", message, table.source, "Generate the table again.")]
    findings: list[Finding] = []
    for device in server.devices:
        where = f"server {server_id}, device {device.device_id}"
        real = addresses.get(device.device_id)
        if real is None:
            findings.append(Finding("RT028", "error", "this machine has no such device", where))
        elif device.device_ip and real and device.device_ip != real:
            message = f"the table says {device.device_ip}, the network card says {real}"
            findings.append(Finding("RT028", "error", message, where, "Generate the table again."))
    return findings


def _version(table: RankTable, chip: Chip) -> Iterator[Finding]:
    if not chip.versions:
        return
    versions = " or ".join(chip.versions)
    if table.version not in chip.versions:
        have = f"version {table.version!r}" if table.version else "no version"
        yield Finding(
            "RT001",
            "error",
            f"{have}, but {chip.title} reads {versions}",
            table.source,
            "A wrong version ends every rank with EI0014. Generate the table for this chip.",
        )
    elif table.version == "1.3":
        message = "version 1.3, as some cloud clusters write it, is read as 1.2"
        fix = "If HCCL refuses it (EI0014): `rank-table convert --to 1.2`."
        yield Finding("RT001", "info", message, table.source, fix)
    elif table.version != chip.versions[0]:
        message = f"version {table.version}: {chip.title} runs in server mode, without its super pod"
        yield Finding("RT001", "info", message, table.source)


def _status(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    if not table.completed:
        message = f"not completed yet: status is {table.status!r}, not 'completed'"
        fix = "Wait for its writer: `rank-table convert --wait SECONDS`."
        yield Finding("RT002", "error", message, table.source, fix)


def _ranks(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    counts = Counter(device.rank_id for _, device in table.devices())
    total = table.rank_count
    if total == 0:
        yield Finding("RT003", "error", "the table has no devices", table.source)
        return
    if unset := counts.pop(UNKNOWN, 0):
        yield Finding("RT003", "error", f"{unset} of {total} devices have no rank_id", table.source)
    for rank, count in sorted(counts.items()):
        if count > 1:
            yield Finding("RT003", "error", f"rank {rank} appears {count} times", table.source)
        elif rank >= total:
            message = f"rank {rank} in a table of {total} devices (ranks 0 to {total - 1})"
            yield Finding("RT003", "error", message, table.source)
    missing = [rank for rank in range(total) if rank not in counts]
    if missing:
        shown = ", ".join(str(rank) for rank in missing[:5]) + (", ..." if len(missing) > 5 else "")
        yield Finding(
            "RT003", "error", f"no device has rank {shown}", table.source, "`rank-table merge` renumbers."
        )


def _interleaved(table: RankTable, _chip: Chip) -> Iterator[Finding]:
    spans = [
        (min(ranks), max(ranks), server)
        for server in table.servers
        if (ranks := [device.rank_id for device in server.devices])
    ]
    spans.sort(key=lambda span: span[:2])
    for (_, last, one), (first, _, other) in pairwise(spans):
        if first < last:
            message = f"ranks of server {other.server_id} lie between those of {one.server_id}"
            yield Finding("RT004", "error", message, one.place, "Number server after server.")


def _repeated_devices(table: RankTable, chip: Chip) -> Iterator[Finding]:
    for server in table.servers:
        places: dict[int, list[int]] = {}
        for device in server.devices:
            if device.device_id != UNKNOWN:
                places.setdefault(device.device_id, []).append(device.device_port)
        for device_id, ports in places.items():
            shared = (
                chip.name in ("ascend910b", "atlas-a3") and 0 not in ports and len(set(ports)) == len(ports)
            )
            if len(ports) > 1 and not shared:
                message = f"device {device_id} appears {len(ports)} times"
                yield Finding("RT005", "error", message, server.place, "Each device is one rank.")


def _device_sets(table: RankTable, chip: Chip) -> Iterator[Finding]:
    if chip.name == "cpu":
        return
    for server in table.servers:
        ids = sorted({device.device_id for device in server.devices} - {UNKNOWN})
        problem = device_set_problem(chip, ids)
        if problem:
            yield Finding(
                "RT007", "error", f"{problem[0]}: no legal set on {chip.title}", server.place, problem[1]
            )


def _shapes(table: RankTable, chip: Chip) -> Iterator[Finding]:
    if chip.name == "cpu" or len(table.servers) < 2:
        return
    first = table.servers[0]
    ids = {device.device_id for device in first.devices}
    for server in table.servers[1:]:
        here = {device.device_id for device in server.devices}
        if len(server.devices) != len(first.devices):
            severity: Severity = "error" if chip.name == "ascend910" else "warning"
            message = f"{len(server.devices)} devices, but server {first.server_id} has {len(first.devices)}"
            yield Finding("RT017", severity, message, server.place, "Use the same devices on every machine.")
        elif here != ids:
            message = f"other device ids than server {first.server_id}"
            yield Finding("RT017", "warning", message, server.place, "Use the same devices on every machine.")


def _plan(table: RankTable, ranks: int | None, nodes: int | None) -> Iterator[Finding]:
    fix = "This is the table of another run. Generate one for this job."
    if ranks is not None and table.rank_count != ranks:
        message = f"{table.rank_count} ranks, but the run has {ranks}"
        yield Finding("RT016", "error", message, table.source, fix)
    if nodes is not None and len(table.servers) != nodes:
        message = f"{len(table.servers)} servers, but the run has {nodes}"
        yield Finding("RT016", "error", message, table.source, fix)


def _place(source: str, where: str) -> str:
    return f"{source}: {where}" if source and where else source or where


def _shortened(found: list[Finding]) -> list[Finding]:
    """At most SHOWN_PER_RULE findings of each rule and severity, then one that counts the rest."""
    totals = Counter((finding.rule, finding.severity) for finding in found)
    shown: Counter[tuple[str, Severity]] = Counter()
    result: list[Finding] = []
    for finding in found:
        key = (finding.rule, finding.severity)
        shown[key] += 1
        if shown[key] <= SHOWN_PER_RULE:
            result.append(finding)
        elif shown[key] == SHOWN_PER_RULE + 1:
            rest = totals[key] - SHOWN_PER_RULE
            result.append(Finding(finding.rule, finding.severity, f"and {rest} more like this"))
    return result


_CHECKS: tuple[Callable[[RankTable, Chip], Iterator[Finding]], ...] = (
    _version,
    _status,
    _ranks,
    _interleaved,
    _repeated_devices,
    check_repeated_addresses,
    _device_sets,
    check_server_ids,
    check_addresses,
    check_families,
    _shapes,
    check_pods,
    check_super_devices,
    check_ports,
    check_host_addresses,
    check_backups,
    check_layers,
)
