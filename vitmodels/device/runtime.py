"""Where a rank runs: its number, its device, its peers, and the signal to stop.

MindSpore is imported after its log level is set, so that a log holds our lines only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from vitmodels.device.kernels.library import keep_exit_code, limit_threads
from vitmodels.errors import NotSupported, UsageError

DEVICES = {"cpu": "CPU", "ascend": "Ascend"}


@dataclass(frozen=True)
class Rank:
    """One process of the run, as the environment states it."""

    id: int = 0
    size: int = 1
    device_id: int = 0
    scheduler: bool = False

    @property
    def first(self) -> bool:
        """Whether this rank writes the files that all ranks share."""
        return self.id == 0


def read_rank(env: Mapping[str, str]) -> Rank:
    """The rank that RANK_ID, RANK_SIZE, DEVICE_ID and MS_ROLE describe. Raises UsageError."""
    values = {}
    for key, default in (("RANK_ID", "0"), ("RANK_SIZE", "1"), ("DEVICE_ID", "0")):
        text = env.get(key) or default
        if not text.isdigit():
            raise UsageError(f"{key} is {text!r}, expected a number")
        values[key] = int(text)
    scheduler = env.get("MS_ROLE") == "MS_SCHED"
    if not scheduler and values["RANK_ID"] >= max(1, values["RANK_SIZE"]):
        raise UsageError(f"RANK_ID {values['RANK_ID']} is not below RANK_SIZE {values['RANK_SIZE']}")
    return Rank(values["RANK_ID"], max(1, values["RANK_SIZE"]), values["DEVICE_ID"], scheduler)


def quiet() -> None:
    """Limit MindSpore's own log to errors, unless the user asked for more. Call before importing it."""
    os.environ.setdefault("GLOG_v", "3")


def pick_device(option: str | None, recipe_target: str | None) -> str:
    """CPU or Ascend: the option, else Ascend where there is one, else the recipe's device_target. Raises NotSupported."""
    quiet()
    import mindspore as ms

    has_ascend = bool(ms.hal.is_available("Ascend"))
    target = DEVICES[option] if option else ("Ascend" if has_ascend else (recipe_target or "CPU"))
    if target == "Ascend" and not has_ascend:
        raise NotSupported(
            "no Ascend device is usable here", hint="add --device cpu, or check CANN and npu-smi"
        )
    return target


def end_quietly(code: int) -> None:
    """Print nothing more, and end with `code` even if MindSpore crashes. For a member of a cluster whose work is done.

    While MindSpore (2.10) takes a process out of its cluster, a thread of its TCP client may use a connection that the
    scheduler has just closed: one process in thirty dies of it on a busy machine, and a rank that had done its work
    would be taken for a failed one. Its threads also print lines at INFO then, whatever the log level.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    keep_exit_code(code)


def _limit_threads(count: int) -> None:
    """Limits MindSpore's operators and our own. `runtime_num_threads` of the context is not enough: with 1, operators run in two parts."""
    import mindspore as ms

    limit_threads(count)
    with contextlib.suppress(RuntimeError):  # MindSpore accepts this once per process
        ms.device_context.cpu.op_tuning.threads_num(count)


def release_memory() -> None:
    """Return to the system what is free; after compiling a graph, 40 to 100 MB. Does nothing where libc can't."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Group:
    """All ranks of the run. A single rank starts no communication, and every reduction returns its input."""

    def __init__(self, rank: Rank, device: str, cpu_threads: int = 0) -> None:
        """`cpu_threads` is how many threads an operator may use on CPU; 0: as many as this process has cores."""
        import mindspore as ms

        self.rank = rank
        self.size = rank.size
        self.device = device
        self._reduce: Any = None
        if device == "Ascend":
            ms.set_device("Ascend", rank.device_id)
        else:
            ms.set_device("CPU")
            _limit_threads(cpu_threads or len(os.sched_getaffinity(0)))
        ms.set_context(mode=ms.GRAPH_MODE)
        ms.set_recursion_limit(20_000)  # the compiler recurses along the graph; 32 blocks are deeper than 12
        if rank.scheduler or rank.size > 1:
            from mindspore.communication import init

            init()
        if rank.size > 1:
            self._reduce = ms.ops.AllReduce(ms.ops.ReduceOp.SUM)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The float32 sum over all ranks, element by element."""
        if self._reduce is None:
            return np.asarray(values, np.float32)
        import mindspore as ms

        return self._reduce(ms.Tensor(np.asarray(values, np.float32))).asnumpy()

    def gather(self, value: float) -> np.ndarray:
        """One number of every rank, by rank."""
        values = np.zeros(self.size, np.float32)
        values[self.rank.id] = value
        return self.sum(values)

    def settle(self) -> None:
        """Return once every rank has all that this one has sent. Call it where a large sum may be a rank's last one.

        On CPU, MindSpore (2.10) sends every message back as its receipt, in the background. A rank that ends
        before its receipts are sent leaves its neighbour waiting for good. Connections keep the order of messages, so a
        small sum that is complete proves that the receipts of a large one before it have arrived.
        """
        self.gather(0.0)


def run_scheduler(device: str) -> None:
    """Run as the dynamic cluster's scheduler: join, and return when the workers are done. Prints nothing."""
    quiet()
    null = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    os.dup2(null, 1)
    Group(Rank(scheduler=True), device)


class StopSignal:
    """Remembers SIGTERM, and Ctrl-C once training runs, so that it can stop between two steps."""

    def __init__(self) -> None:
        self.received = False
        self._steps = 0

    def is_received(self) -> bool:
        """Whether training must stop; asked before every step. Before the second one, Ctrl-C interrupts at once."""
        self._steps += 1
        if self._steps == 2 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._on_signal)
        return self.received

    def install(self) -> None:
        """Take over SIGTERM; MindSpore installs its own handler when it joins a cluster, so call this after."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
