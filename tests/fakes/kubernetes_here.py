"""A cluster to try things on, until Ctrl-C: a real API server, and a stand-in for the rest.

python -m tests.fakes.kubernetes_here
"""

import signal
import sys
import tempfile
from pathlib import Path

from tests.fakes.kubernetes_cluster import fake_cluster
from tests.fakes.kubernetes_network import why_not
from tests.servers.kube import kube_server
from tests.servers.process import Unavailable


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = tempfile.TemporaryDirectory(prefix="pods-", ignore_cleanup_errors=True)
    try:
        with folder as pods, kube_server() as server, fake_cluster(server, "default", Path(pods)):
            if reason := why_not():
                sys.stderr.write(
                    f"pods are processes of this machine, with its files and its network: {reason}\n"
                )
            print(f"export KUBECONFIG={server.kubeconfig}", flush=True)
            signal.pause()
    except Unavailable as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
