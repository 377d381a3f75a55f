"""How a rank ends."""

from __future__ import annotations

import subprocess
import sys

ABORTS_IN_ITS_DESTRUCTORS = """
import ctypes, sys
from vitmodels.device.runtime import end_with_python

libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)
print("a last line")
if "guarded" in sys.argv:
    end_with_python()
sys.exit(75)
"""


def test_a_crash_after_pythons_end_does_not_change_the_exit_code() -> None:
    command = [sys.executable, "-c", ABORTS_IN_ITS_DESTRUCTORS]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -6
    guarded = subprocess.run([*command, "guarded"], capture_output=True, text=True, check=False)
    assert (guarded.returncode, guarded.stdout, guarded.stderr) == (75, "a last line\n", "")
