"""A search for a pattern that somebody wrote, in a log that may be long, and that ends in any case."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys

from launcher.jobfile.linear import NotLinear, check_linear

log = logging.getLogger("launcher.node")

PATIENCE_S = 60.0
_CHILD = """
import json, re, sys
pattern, text = json.loads(sys.stdin.buffer.read())
print("found" if re.search(pattern, text) else "absent")
"""


def is_found(pattern: re.Pattern[str], text: str) -> bool:
    """Blocks for PATIENCE_S at most: a pattern that may take more than linear time is searched in a process that can be ended.

    A thread would not do: a search lets no other thread run. One that takes longer counts as not found.
    """
    try:
        check_linear(pattern.pattern)
    except (NotLinear, RecursionError, OverflowError):
        return _in_a_process(pattern.pattern, text)
    return pattern.search(text) is not None


def _in_a_process(pattern: str, text: str) -> bool:
    command = [sys.executable, "-I", "-c", _CHILD]
    request = json.dumps([pattern, text]).encode()
    try:
        done = subprocess.run(command, input=request, capture_output=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning(
            "the pattern %r of retry.on was not found within %g s, and counts as absent: %s",
            pattern,
            PATIENCE_S,
            type(error).__name__,
        )
        return False
    return done.stdout.split() == [b"found"]
