"""Messages about a run from a machine that watches it: for what the run's own machine can't send any more.

Only plans of ours are obeyed: one that a stranger wrote could name any command, and any address for our variables.
"""

from __future__ import annotations

import os
import time
from typing import Any

from launcher.errors import LauncherError
from launcher.notify.postbox import Postbox
from launcher.runfolder.states import RunState
from launcher.runs.index import RunEntry
from launcher.runs.trust import find_plan
from launcher.runs.view import RunView

GRACE_S = 30.0
"""How long the machine of a living run has the first say."""
SEND_S = 30.0
SETTLE_S = 15.0
SETTLE_LOOK_S = 0.5
"""How long, and how often, a run that has ended is looked at for messages that its own machine still sends."""


class Watcher:
    """Looks at the views of one run. Never raises, and asks the store only when there is something to tell."""

    def __init__(self, entry: RunEntry) -> None:
        self._entry = entry
        self._postbox: Postbox | None = None
        self._ready = False

    def look(self, view: RunView) -> None:
        """Send what is due; blocks for half a minute at most."""
        try:
            if not self._ready:
                self._postbox, self._ready = _postbox(self._entry), True
            if self._postbox is None:
                return
            grace_s = 0.0 if view.state.terminal else GRACE_S
            letters = self._postbox.take(_state_of(view), view.progress, grace_s=grace_s)
            if letters:
                self._postbox.deliver(letters, SEND_S)
        except (LauncherError, OSError):
            return  # the store or the plan: whoever watches sees it elsewhere

    def settle(self, view: RunView, patience_s: float = SETTLE_S) -> bool:
        """Look until no other sender has a message of this end; blocks. Whether that is so, before the patience has ended."""
        deadline = time.monotonic() + patience_s
        self.look(view)
        while self._postbox is not None and self._postbox.others_send:
            if time.monotonic() > deadline:
                return False
            time.sleep(SETTLE_LOOK_S)
            self.look(view)
        return True


def _postbox(entry: RunEntry) -> Postbox | None:
    found = find_plan(entry)
    if not found.ours or found.plan.rehearsal or not found.plan.notify.to:
        return None
    return Postbox(found.plan.notify, entry.store.open, os.environ, found.plan.submitted_in)


def _state_of(view: RunView) -> RunState:
    values: dict[str, Any] = {
        name: getattr(view, name) for name in RunState.model_fields if name in RunView.model_fields
    }
    return RunState(**{**values, "reason": view.headline, "updated_at": view.updated_at or 0.0})
