"""What the node programs of one run tell each other, as values. On several machines they travel as JSON objects."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from launcher.node.stopping import StopKind
from launcher.ranks.diagnose import Cause
from launcher.runfolder.states import FirstFailure

NodePhase = Literal["arriving", "ready", "running", "ended", "failed", "uploaded"]
LeaderPhase = Literal["waiting", "started", "decided", "over"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer launcher may have written more


class Machine(_Value):
    """A machine that takes part. `devices` are (physical id, address, SDID), empty without NPUs."""

    host: str
    address: str = ""
    devices: tuple[tuple[int, str, str], ...] = ()
    super_pod: str = ""


class StepReport(_Value):
    """How a step of the plan ended on one machine. `stop` and, in words, `stopped`: somebody asked for the end."""

    ok: bool
    cause: Cause | None = None
    stopped: str = ""
    stop: StopKind | None = None


class StartOrder(_Value):
    """Node 0's order to start a step. Every machine starts from checkpoint `step`; None: from the beginning.

    `resume`: the name of the checkpoint files that a program of the user's own starts from; empty: there are none.
    """

    scheduler_host: str = "127.0.0.1"
    scheduler_port: int = 0
    master_port: int = 0
    rank_table: str = ""
    step: int | None = None
    resume: str = ""


class NextAction(_Value):
    """What all machines do after a step has ended: the next step, a restart as `attempt`, or the end of the run.

    `failure` is why, `stop` who asked for the end. `orderly`: the ranks get time to save a checkpoint. `again`: another start of the run by its platform may go on.
    """

    do: Literal["next", "restart", "end"]
    reason: str = ""
    hint: str = ""
    failure: FirstFailure | None = None
    stop: StopKind | None = None
    attempt: int = 0
    pause_s: float = 0.0
    orderly: bool = False
    again: bool = False
    exclude_host: str = ""


class NodeMessage(_Value):
    """What one machine says of itself. `reason` and `failure` are set when its node program failed outside of a step;
    with `cancelled` somebody asked it to end there.

    `step_index` is the place of a step in the plan; `launch` tells apart two starts of one attempt by a platform.
    """

    node: int
    launch: str = ""
    phase: NodePhase = "arriving"
    step_index: int = -1
    machine: Machine
    report: StepReport | None = None
    reason: str = ""
    failure: FirstFailure | None = None
    cancelled: bool = False


class LeaderMessage(_Value):
    """What node 0 says to all. `alive_at` changes with every write, so that the others see that node 0 lives."""

    launch: str = ""
    alive_at: float = 0.0
    phase: LeaderPhase = "waiting"
    step_index: int = -1
    order: StartOrder | None = None
    action: NextAction | None = None
