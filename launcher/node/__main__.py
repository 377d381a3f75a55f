"""`python -m launcher.node PLAN --node K --attempt A`."""

import gc
import sys

from launcher.portable import lacks_of_linux

if lacking := lacks_of_linux():
    sys.stderr.write(f"error: a node program runs on Linux only; this system has no {lacking}\n")
    sys.exit(2)

from launcher.node.program import main

code = main()
gc.freeze()  # as launcher.cli does: the end of the process looks for no cycles
sys.exit(code)
