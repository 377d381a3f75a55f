"""The devices that a run takes on this machine: chosen, locked, and then checked to be healthy and free."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from launcher.devices.inventory import (
    DeviceInfo,
    DeviceLocks,
    HeldDevices,
    check_chip,
    check_devices,
    list_devices,
)
from launcher.errors import PlanError
from launcher.findings import errors
from launcher.node.context import NodeContext
from launcher.plan.model import NPU_DEVICES, Plan

DEVICE_FREE_S = 20.0
"""A process that has just been killed still shows up on its device for some seconds."""
CHECK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class RunDevices:
    """Locked devices; the end of the `with` block unlocks them. Locks and rank tables use physical ids.

    `logical_ids` maps physical ids to the ids that ASCEND_RT_VISIBLE_DEVICES takes; None: the platform has set that
    variable. `numa_nodes` maps physical ids to the NUMA nodes that the devices are connected to, -1 if unknown.
    """

    held: HeldDevices
    logical_ids: Mapping[int, int] | None
    numa_nodes: Mapping[int, int]

    @property
    def ids(self) -> tuple[int, ...]:
        return self.held.ids

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """Descriptors that ranks inherit, so that a device stays locked as long as a rank lives."""
        return self.held.fds

    def __enter__(self) -> RunDevices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.release()


def take_devices(context: NodeContext, *, preset: bool) -> RunDevices:
    """Block until this machine's devices are locked, healthy and free. Raises PlanError, Stopped.

    `preset`: the platform has started this process for one device, and has put its id into ASCEND_DEVICE_ID.
    """
    plan = context.plan
    present = list_devices(plan.device, addresses=False)
    usable = list(present) if plan.device == "cpu" else visible_devices(present)
    if wrong := check_chip(plan.device, present):
        raise PlanError("\n".join(map(str, wrong)), where=socket.gethostname(), rule="no-devices")
    choices = _preset_choice(usable) if preset else _choices(plan, usable)
    if not choices:
        words = f"{plan.devices_per_node} {plan.device} devices asked for, {len(usable)} here"
        raise PlanError(words, rule="no-devices")
    held = DeviceLocks(label=plan.run_id).acquire_any(
        choices,
        on_wait=lambda detail: context.heartbeat.set(phase="queued", detail=detail),
        on_poll=context.stopper.check,
    )
    try:
        _wait_until_free(context, held)
    except BaseException:
        held.release()
        raise
    logical_ids = None if preset else {each.device_id: each.logical_id for each in usable}
    return RunDevices(held, logical_ids, {each.device_id: each.numa_node for each in usable})


def _preset_choice(usable: Sequence[DeviceInfo]) -> list[tuple[int, ...]]:
    logical_id = int(os.environ["ASCEND_DEVICE_ID"])
    return [(each.device_id,) for each in usable if each.logical_id == logical_id]


def _choices(plan: Plan, usable: Sequence[DeviceInfo]) -> list[tuple[int, ...]]:
    return device_choices(plan.device, plan.devices_per_node, [each.device_id for each in usable])


def _wait_until_free(context: NodeContext, held: HeldDevices) -> None:
    """Wait for processes on the devices: no run holds their locks, so they are ending, or foreign. Raises PlanError."""
    if context.plan.device not in NPU_DEVICES:
        return
    deadline = time.monotonic() + DEVICE_FREE_S
    while findings := errors(check_devices(list_devices(context.plan.device, addresses=False), held.ids)):
        only_busy = all(finding.rule == "DV003" for finding in findings)
        if not only_busy or time.monotonic() > deadline:
            raise PlanError("\n".join(map(str, findings)), where=socket.gethostname(), rule="no-devices")
        context.heartbeat.set(detail=findings[0].message)
        context.stopper.check()
        time.sleep(CHECK_AGAIN_S)


def device_choices(device: str, count: int, available: Sequence[int]) -> list[tuple[int, ...]]:
    """Sets of `count` devices that a run may take, in order: aligned windows, so that no group of four 910 is split.

    CPU slots only put runs into a queue: a machine with fewer cores than ranks still runs them.

    >>> device_choices("ascend910", 4, range(8))
    [(0, 1, 2, 3), (4, 5, 6, 7)]
    """
    if device == "cpu" and count > len(available):
        return [tuple(range(count))]
    ids = sorted(available)
    windows = [tuple(ids[i : i + count]) for i in range(0, len(ids) - count + 1, count)]
    return [window for window in windows if window[-1] - window[0] == count - 1] or windows


def visible_devices(devices: Sequence[DeviceInfo], env: Mapping[str, str] = os.environ) -> list[DeviceInfo]:
    """The devices a run may take: all, or those that ASCEND_RT_VISIBLE_DEVICES names, which are logical ids.

    A restriction of the node program holds for its ranks. Raises PlanError for ids that this machine does not have.
    """
    named = env.get("ASCEND_RT_VISIBLE_DEVICES", "").replace(" ", "")
    if not named:
        return list(devices)
    by_logical = {device.logical_id: device for device in devices}
    logical_ids = [int(part) if part.isdecimal() else -1 for part in named.split(",")]
    missing = [logical_id for logical_id in logical_ids if logical_id not in by_logical]
    if missing:
        here = ", ".join(map(str, sorted(by_logical))) or "none"
        raise PlanError(
            f"ASCEND_RT_VISIBLE_DEVICES={named}, but the logical ids here are {here}",
            hint="unset it, or name devices of this machine",
        )
    return [by_logical[logical_id] for logical_id in logical_ids]
