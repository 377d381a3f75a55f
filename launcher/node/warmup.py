"""What ranks of vitmodels need is made ready on this machine while its data are staged: `python -m vitmodels.warmup`.

It may fail without harm: ranks do what it has not done, and say what is wrong.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from types import TracebackType

from launcher.node.processes import inherited
from launcher.plan.model import Plan
from launcher.ranks.gang import Gang, Process
from launcher.ranks.orphans import node_mark
from launcher.threads import join, started

log = logging.getLogger("launcher.node")


class WarmUp:
    """The process beside staging, and the thread that it lives as long as; a context manager that ends both."""

    def __init__(self, plan: Plan, node: int) -> None:
        self._process = warm_up_process(plan)
        self._mark = f"{node_mark(plan.run_id, node)}warm-up:{os.getpid()}"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)

    def __enter__(self) -> WarmUp:
        if self._process is not None:
            started(self._thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        join(self._thread)

    def _run(self) -> None:
        """The thread that starts a process is the one whose end ends it."""
        assert self._process is not None
        gang = Gang([self._process], self._mark)
        with suppress(OSError):  # no more processes, or a full disk: the ranks will tell
            gang.start()
            while not gang.wait(0.5) and not self._end.is_set():
                pass
            gang.kill()
            gang.close()


def warm_up_process(plan: Plan) -> Process | None:
    """None for a program of one's own, whose needs are not known."""
    if plan.own_program:
        return None
    device = "cpu" if plan.device == "cpu" else "ascend"
    folder = plan.run_dir.work / "warm-up"
    return Process(
        name="warm-up",
        rank=None,
        argv=(plan.python, "-m", "vitmodels.warmup", "--device", device),
        env={**inherited(()), **plan.env_before_ranks},
        cwd=folder,
        log=folder / "warm-up.log",
    )
