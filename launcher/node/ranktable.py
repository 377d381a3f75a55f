"""The rank table of a run: the platform's where there is one, else made from the machines' own descriptions."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.errors import PlanError
from launcher.findings import errors
from launcher.node.heartbeat import Heartbeat
from launcher.node.messages import Machine
from launcher.plan.model import ASCEND_DEVICES, Plan
from launcher.ranktable import DeviceAddress, NodeAddress, RankTable, convert, generate, lint, wait
from launcher.ranktable.sources import Choice, own_address, this_machine

PLATFORM_TABLE_S = 1800.0
"""The platform writes its table when all machines have started, which may take a while after this one."""


def describe_machine(plan: Plan, ids: Sequence[int], env: Mapping[str, str] = os.environ) -> Machine:
    """This machine with the devices that the run took. Raises LauncherError when their addresses can't be found."""
    host = socket.gethostname()
    if plan.device in ASCEND_DEVICES and not env.get("RANK_TABLE_FILE"):
        server = this_machine(plan.device, Choice(visible=tuple(ids)))
        devices = tuple((d.device_id, d.device_ip, d.super_device_id) for d in server.devices)
        return Machine(host=host, address=server.server_id, devices=devices, super_pod=server.super_pod_id)
    return Machine(host=host, address=own_address() if plan.nodes > 1 else "127.0.0.1")


def common_table(
    plan: Plan, machines: Sequence[Machine], heartbeat: Heartbeat, env: Mapping[str, str] = os.environ
) -> str:
    """The text of the run's table, linted before anything starts; empty on CPU. Raises PlanError."""
    if plan.device not in ASCEND_DEVICES:
        return ""
    if named := env.get("RANK_TABLE_FILE"):
        table = wait(Path(named), PLATFORM_TABLE_S, lambda words: heartbeat.set(detail=words))
        table = convert(table, table.version)
    else:
        table = generate(plan.device, [_address(plan, machine) for machine in machines])
    _refuse_errors(table, plan)
    return table.to_json()


def _address(plan: Plan, machine: Machine) -> NodeAddress:
    devices = tuple(DeviceAddress(number, ip, sdid) for number, ip, sdid in machine.devices)
    pods = plan.device == "atlas-a3"
    return NodeAddress(
        machine.address,
        devices,
        host_ip=machine.address if pods else "",
        super_pod_id=machine.super_pod if pods else "",
    )


def _refuse_errors(table: RankTable, plan: Plan) -> None:
    bad = errors(
        lint(
            table,
            chip=plan.device,
            ranks=plan.world_size,
            nodes=None if plan.devices_per_node == 1 else plan.nodes,
        )
    )
    if bad:
        raise PlanError(
            "\n".join(map(str, bad)),
            where=str(plan.run_dir.rank_table),
            hint="`launcher rank-table lint --explain RULE` tells more",
        )
