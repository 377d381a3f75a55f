"""Become a rank: tie this process to its parent's life, pin it to its cores, then run the program in its place.

Started as a script, `python -I -S _exec.py PARENT_PID CORES PROGRAM...`, so that nothing of this has to happen
between fork and exec in a process that has threads. CORES is a comma list, or `-` for no pinning.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, cores, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the line above, so its death would send no signal
        os._exit(1)
    # The stacks of a hang are taken with SIGABRT; a core dump of every rank would fill the disk. Programs may raise it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if cores != "-":
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell on purpose
    except OSError as error:
        os.write(2, f"can't start {program[0]}: {error.strerror}\n".encode())
        os._exit(127)


main()
