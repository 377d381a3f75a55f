"""`python -m launcher.node PLAN --node K --attempt A`."""

import sys

from launcher.node.program import main

sys.exit(main())
