"""What several commands say of a run, so that they say the same."""

from __future__ import annotations

from launcher.runfolder.states import Attempt


def came_from(attempt: Attempt) -> str:
    """` from step 2` or ` from the beginning`; empty for the first attempt, and while it is not settled yet."""
    if attempt.attempt <= 1 or attempt.resume_settled is False:
        return ""
    return " from the beginning" if attempt.resumed_step is None else f" from step {attempt.resumed_step}"
