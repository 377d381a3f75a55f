"""A real kube-apiserver with etcd on loopback, in a temporary folder, with the kinds of Volcano and MindCluster.

Needs the programs that `.ci/build-kube` builds from Debian's source package, in $LAUNCHER_TEST_KUBE or the user's cache. The
kinds are those that their projects publish, where their structure lies beside this project; else ones that take any content.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.servers.certificate import make_certificate
from tests.servers.kube_client import Connections
from tests.servers.ports import free_port
from tests.servers.process import Unavailable, program, running, wait_until

PROGRAMS = ("kube-apiserver", "etcd", "kube-controller-manager")
PUBLISHED = next(
    (
        found
        for above in Path(__file__).parents[3:5]
        if (found := above / "shared" / "kube" / "crds").is_dir()
    ),
    None,
)
KINDS = (
    ("batch.volcano.sh", "v1alpha1", "Job", "jobs"),
    ("mindxdl.gitee.com", "v1", "AscendJob", "ascendjobs"),
    ("scheduling.volcano.sh", "v1beta1", "PodGroup", "podgroups"),
    ("scheduling.volcano.sh", "v1beta1", "Queue", "queues"),
    ("bus.volcano.sh", "v1alpha1", "Command", "commands"),
)
SERVICE_IP = "10.0.0.1"
"""Of the service `kubernetes`, for pods: the first address of the range of services."""
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def programs() -> dict[str, str]:
    """Raises Unavailable naming what to do."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("LAUNCHER_TEST_KUBE") or cache / "ascend-launcher-tests" / "kube")
    missing = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise Unavailable(f"{', '.join(missing)} not in {folder}; .ci/build-kube builds them")
    return {name: str(folder / name) for name in PROGRAMS}


class ApiProcess:
    """The API server's process, which can be stopped and started again; what it knows is in etcd."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command, self._log = command, log
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(running(self._command, self._log))

    def stop(self) -> None:
        self._running.close()


@dataclass(frozen=True)
class KubeServer:
    """`kubeconfig` has the context `test`, of an administrator."""

    address: str
    token: str
    kubeconfig: Path
    published: bool
    process: ApiProcess
    connections: Connections

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A request as an administrator; raises urllib's HTTPError."""
        return self.connections.call(method, path, body)

    def kubeconfig_of(self, user: str, folder: Path) -> Path:
        """The kubeconfig of `guest`, who has no rights, of `nobody`, whom the server does not know, or of a server that is `away`."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        if user == "away":
            config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
        else:
            config["users"][0]["user"]["token"] = f"{user}-{self.token}"
        path = folder / f"kubeconfig-{user}"
        path.write_text(yaml.safe_dump(config))
        return path


@contextmanager
def kube_server() -> Iterator[KubeServer]:
    """Start it; takes 5 to 30 s. Raises Unavailable where it can't run."""
    tools = programs()
    with ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="kube-", ignore_cleanup_errors=True)
        root = Path(stack.enter_context(folder))
        cert, key = make_certificate(root, SERVICE_IP)
        api, etcd, peer = free_port(), free_port(), free_port()
        token = secrets.token_hex(16)
        (root / "tokens.csv").write_text(f'{token},admin,1,"system:masters"\nguest-{token},guest,2\n')
        keys = root / "sa.key"
        subprocess.run(
            [program("openssl"), "genrsa", "-out", str(keys), "2048"], check=True, capture_output=True
        )
        stack.enter_context(running(_etcd(tools, root, etcd, peer), root / "etcd.log"))
        process = ApiProcess(_apiserver(tools, root, (cert, key, keys), api, etcd), root / "api.log")
        process.start()
        stack.callback(process.stop)
        kubeconfig = _kubeconfig(root, api, token)
        address = f"https://127.0.0.1:{api}"
        connections = Connections(address, cert, token)
        stack.callback(connections.close)
        server = KubeServer(address, token, kubeconfig, PUBLISHED is not None, process, connections)
        wait_until(lambda: _answers(server), "kube-apiserver", root / "api.log")
        _define_kinds(server)
        command = [
            tools["kube-controller-manager"],
            f"--kubeconfig={server.kubeconfig}",
            "--leader-elect=false",
        ]
        command += ["--controllers=garbagecollector,namespace", "--port=0", "--secure-port=0"]
        stack.enter_context(running(command, root / "controllers.log"))
        yield server


def _etcd(tools: dict[str, str], root: Path, port: int, peer: int) -> list[str]:
    urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"]
    command = [tools["etcd"], "--data-dir", str(root / "etcd"), "--unsafe-no-fsync"]
    command += ["--listen-client-urls", urls[0], "--advertise-client-urls", urls[0]]
    return [*command, "--listen-peer-urls", urls[1]]


def _apiserver(
    tools: dict[str, str], root: Path, files: tuple[Path, Path, Path], port: int, etcd: int
) -> list[str]:
    cert, key, accounts = files
    flags = {
        "etcd-servers": f"http://127.0.0.1:{etcd}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": port,
        "tls-cert-file": cert,
        "tls-private-key-file": key,
        "client-ca-file": cert,
        "service-account-issuer": f"https://127.0.0.1:{port}",
        "service-account-key-file": accounts,
        "service-account-signing-key-file": accounts,
        "token-auth-file": root / "tokens.csv",
        "authorization-mode": "RBAC",
        "service-cluster-ip-range": "10.0.0.0/24",
        "disable-admission-plugins": "ServiceAccount",
        "endpoint-reconciler-type": "none",
    }
    return [tools["kube-apiserver"], *(f"--{name}={value}" for name, value in flags.items())]


def _kubeconfig(root: Path, port: int, token: str) -> Path:
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(root / "cert.pem")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    path = root / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


def _answers(server: KubeServer) -> bool:
    with suppress(OSError):
        return bool(server.call("GET", "/api/v1/namespaces/default"))
    return False


def _define_kinds(server: KubeServer) -> None:
    known = {each["metadata"]["name"] for each in server.call("GET", CRDS)["items"]}
    kinds = _published() if server.published else [_any_content(*kind) for kind in KINDS]
    for kind in kinds:
        if kind["metadata"]["name"] not in known:
            server.call("POST", CRDS, kind)
    names = [kind["metadata"]["name"] for kind in kinds]
    for name in names:
        wait_until(lambda name=name: _established(server, name), name, Path("/dev/null"))  # type: ignore[misc]


def _established(server: KubeServer, name: str) -> bool:
    conditions = server.call("GET", f"{CRDS}/{name}").get("status", {}).get("conditions", [])
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _published() -> Iterator[dict[str, Any]]:
    assert PUBLISHED is not None
    for path in sorted(PUBLISHED.glob("*.json")):
        kind = json.loads(path.read_text())
        _without_empty_defaults(kind)
        yield kind


def _without_empty_defaults(node: Any) -> None:
    """A server of version 1.20 reads an empty text as a default as if it were null, and refuses it."""
    if isinstance(node, list):
        for each in node:
            _without_empty_defaults(each)
    if not isinstance(node, dict):
        return
    items = node.get("items")
    for key in node.get("x-kubernetes-list-map-keys") or ():
        if isinstance(items, dict) and items.get("properties", {}).get(key, {}).get("default") == "":
            node.pop("x-kubernetes-list-map-keys")
            node.pop("x-kubernetes-list-type", None)
            break
    if node.get("default") == "" and isinstance(node.get("type"), str):
        node.pop("default")
    for value in list(node.values()):
        _without_empty_defaults(value)


def _any_content(group: str, version: str, kind: str, plural: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    scope = "Cluster" if kind == "Queue" else "Namespaced"
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": scope,
            "versions": [{**served, "subresources": {"status": {}} if "Job" in kind else {}}],
        },
    }
