"""Draw a rank table: one box a server, one cell a device, ranks under devices."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.ranktable.model import UNKNOWN, Device, RankTable, Server


def show(table: RankTable, *, width: int = 100, servers: int = 32) -> str:
    """A picture as plain text, at most `width` columns; servers beyond `servers` are counted.

    Cells stand in the order of the table, so that a rank out of order is seen at once.
    """
    pods = {server_id: pod.super_pod_id for pod in table.super_pods for server_id in pod.server_ids}
    lines = [_headline(table)]
    if table.note:
        lines.append(table.note)
    previous = None
    for server in table.servers[:servers]:
        pod = pods.get(server.server_id)
        if pod is not None and pod != previous:
            lines.append(f"super pod {pod}")
        previous = pod
        lines.extend(_box(server, width))
    hidden = len(table.servers) - servers
    if hidden > 0:
        lines.append(f"... and {hidden} more servers")
    return "\n".join(lines) + "\n"


def _headline(table: RankTable) -> str:
    parts = [
        f"version {table.version or '?'}",
        table.status or "no status",
        _counted(len(table.servers), "server"),
        _counted(table.rank_count, "rank"),
    ]
    if table.super_pods:
        parts.append(_counted(len(table.super_pods), "super pod"))
    return ", ".join(parts)


def _box(server: Server, width: int) -> Iterator[str]:
    cells = [_cell(device) for device in server.devices]
    cell_width = max((len(text) for cell in cells for text in cell), default=6)
    fitting = (width - 2) // (cell_width + 3)
    columns = next((n for n in (16, 8, 4, 2) if n <= fitting and n <= len(cells)), 1)
    inner = columns * (cell_width + 3) - 1
    title = f" {server.server_id or '(no server_id)'} "
    inner = max(inner, len(title) + 2)
    yield f"┌─{title}{'─' * (inner - len(title) - 1)}┐"
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        for line in range(3):
            text = "│".join(f" {cell[line]:<{cell_width}} " for cell in row)
            yield f"│{text:<{inner}}│"
        if start + columns < len(cells):
            yield f"├{'─' * inner}┤"
    yield f"└{'─' * inner}┘"


def _cell(device: Device) -> tuple[str, str, str]:
    number = "?" if device.device_id == UNKNOWN else str(device.device_id)
    rank = "?" if device.rank_id == UNKNOWN else str(device.rank_id)
    address = device.device_ip or (
        device.levels[0].addresses[0].addr if _has_address(device) else "no address"
    )
    return f"device {number}", f"rank {rank}", address


def _has_address(device: Device) -> bool:
    return bool(device.levels and device.levels[0].addresses)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
