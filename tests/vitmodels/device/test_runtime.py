"""How a rank ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vitmodels.device.kernels.library import library

CRASHES_WHEN_IT_ENDS = """
import ctypes, sys
from vitmodels.device.runtime import end_quietly

libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)
print("a last line")
if "guarded" in sys.argv:
    end_quietly(75)
sys.exit(75)
"""


def test_a_crash_after_the_work_does_not_change_the_exit_code() -> None:
    if library().path is None:
        pytest.skip("NOT TESTED: no C++ compiler here")
    command = [sys.executable, "-c", CRASHES_WHEN_IT_ENDS]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -6
    guarded = subprocess.run([*command, "guarded"], capture_output=True, text=True, check=False)
    assert (guarded.returncode, guarded.stdout, guarded.stderr) == (75, "a last line\n", "")
