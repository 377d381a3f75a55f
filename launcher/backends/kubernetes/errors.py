"""Refusals of a cluster as errors of the tree. Decisions read `status` and `code`; what they mean for people is in a table."""

from __future__ import annotations

from launcher.errors import BackendError

INSTALL = "pip install 'ascend-launcher[kubernetes]'"
_HINTS = {
    0: "is the cluster reachable from here? `kubectl cluster-info` asks it the same way",
    401: "the token or certificate has expired or is wrong: log in to the cluster again",
    403: "your account lacks this right in the namespace; ask its administrator",
    404: "the namespace, or the kind of job, is not in this cluster: is Volcano (or MindCluster) installed?",
    422: "`launcher render FILE` shows the manifest",
    429: "the server is busy; try again in a moment",
}
_TEMPORARY = (0, 408, 429, 500, 502, 503, 504)


class ClusterError(BackendError):
    """The API server refused, or gave no answer (`status` 0). `code` is its own word, such as AlreadyExists."""

    def __init__(self, message: str, *, status: int = 0, code: str = "", where: str = "") -> None:
        label = " ".join(filter(None, [f"HTTP {status}" if status else "", code]))
        super().__init__(
            f"{message} ({label})" if label else message, where=where, hint=_HINTS.get(status, "")
        )
        self.status, self.code = status, code

    @property
    def temporary(self) -> bool:
        """Whether the same request may go well in a moment."""
        return self.status in _TEMPORARY

    @property
    def absent(self) -> bool:
        return self.status == 404

    @property
    def exists(self) -> bool:
        """Whether an object of that name is there already."""
        return self.status == 409 and self.code == "AlreadyExists"
