"""The node of the stand-in for Kubernetes: it starts the containers of pods with what they mount, and ends them."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.fakes.kubernetes_container import Container, Mount, start_isolated, start_plain
from tests.fakes.kubernetes_logs import PREVIOUS
from tests.fakes.kubernetes_network import NODE_IP, Network, why_not
from tests.fakes.kubernetes_operator import Object
from tests.fakes.kubernetes_pod import ACCOUNT, field_of, moved
from tests.servers.kube import SERVICE_IP, KubeServer

LOOPBACK = "127.0.0.1"


class Kubelet:
    """`env` and `driver`: what the driver of the node adds to each pod, variables and folders of this machine.

    Where name spaces can't be made, containers are processes of this machine: what they would see at a mount lies in a folder of the
    pod, and variables that name it are changed so.
    """

    def __init__(self, server: KubeServer, namespace: str, folder: Path) -> None:
        self.server, self.namespace, self.folder = server, namespace, folder
        self.env: dict[str, str] = {}
        self.driver: list[Path] = []
        self.mounted: dict[str, dict[str, Path]] = {}
        self.processes: dict[str, Container] = {}
        self.logs: dict[str, Path] = {}
        self.begun: dict[str, int] = {}
        self.addresses: dict[str, str] = {}
        self.terminated: dict[str, float] = {}
        self.network = None if why_not() else Network()
        service = urlsplit(server.address)
        self.service = (str(service.hostname), int(service.port or 443))
        if self.network:
            self.network.serve(443, self.service)
            self.service = (SERVICE_IP, 443)

    def path(self, *parts: str) -> str:
        return "/".join([f"/api/v1/namespaces/{self.namespace}", *parts])

    def address(self, pod: Object) -> tuple[str, str]:
        """Addresses of a pod and of its host."""
        uid, host = pod["metadata"]["uid"], NODE_IP if self.network else LOOPBACK
        if uid not in self.addresses:
            own = None if pod["spec"].get("hostNetwork") else self.network
            self.addresses[uid] = own.address() if own else host
        return self.addresses[uid], host

    def begin(self, pod: Object) -> None:
        """Start the container's command, for the first time or once more."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        home = self.folder / uid
        home.mkdir(parents=True, exist_ok=True)
        container, mounts = pod["spec"]["containers"][0], self.mounts(pod, home)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home) if self.network is None else "/root",
            "HOSTNAME": name,
            "LAUNCHER_NO_AGENCY": "1",
            "KUBERNETES_SERVICE_HOST": self.service[0],
            "KUBERNETES_SERVICE_PORT": str(self.service[1]),
            **self.env,
            **self.environment(pod, container),
        }
        self.logs[name] = log = home / "output.log"
        if log.exists():
            log.replace(home / PREVIOUS)
        self.begun[uid] = self.begun.get(uid, 0) + 1
        command = container["command"]
        with log.open("ab") as output:
            if self.network is None:
                places = {each.path: each.source for each in mounts if each.source.startswith(str(home))}
                env = {key: moved(value, places) for key, value in env.items()}
                self.processes[uid] = start_plain(command, env, home, output)
            else:
                self.processes[uid] = start_isolated(
                    command,
                    env,
                    home,
                    output,
                    name=pod["spec"].get("hostname") or name,
                    address=self.address(pod)[0],
                    network=self.network,
                    mounts=[*mounts, *(Mount(str(each), str(each), True) for each in self.driver)],
                )

    def end(self, pod: Object) -> bool:
        """Whether a deleted pod's container has ended: SIGTERM, and after the pod's grace SIGKILL."""
        uid = pod["metadata"]["uid"]
        process = self.processes.get(uid)
        if process is None or process.poll() is not None:
            return True
        if uid not in self.terminated:
            self.terminated[uid] = time.monotonic()
            process.terminate()
        elif time.monotonic() - self.terminated[uid] > pod["spec"]["terminationGracePeriodSeconds"]:
            process.kill()
        return False

    # ---- what a container finds

    def mounts(self, pod: Object, home: Path) -> list[Mount]:
        """In the order of the container. Folders of ConfigMaps, temporary volumes and the account's token are made in `home`."""
        volumes = {each["name"]: each for each in pod["spec"].get("volumes") or []}
        container = pod["spec"]["containers"][0]
        found = []
        for each in container.get("volumeMounts") or []:
            volume, read_only = volumes[each["name"]], bool(each.get("readOnly"))
            place = home / "volumes" / each["name"]
            if "emptyDir" in volume and self.network is None:
                continue
            if volume.get("emptyDir", {}).get("medium") == "Memory":
                asked = container["resources"].get("limits", {}).get("memory", "")
                size = volume["emptyDir"].get("sizeLimit") or asked
                found.append(Mount(each["mountPath"], size=size.rstrip("iB").lower()))
                continue
            if "hostPath" in volume and Path(volume["hostPath"]["path"]).exists():
                place = Path(volume["hostPath"]["path"])
            else:
                place.mkdir(parents=True, exist_ok=True)
            if "configMap" in volume:
                self.mounted.setdefault(home.name, {})[volume["configMap"]["name"]] = place
                read_only = True
            found.append(Mount(each["mountPath"], str(place), read_only))
        if pod["spec"].get("automountServiceAccountToken"):
            place = self.account(pod["spec"]["serviceAccountName"], home / "account")
            found.append(Mount(ACCOUNT, str(place), read_only=True))
        self.refresh(home.name)
        return found

    def account(self, name: str, place: Path) -> Path:
        """A token of the pod's service account, as the kubelet asks for it."""
        place.mkdir(exist_ok=True)
        path = self.path("serviceaccounts", name, "token")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        (place / "token").write_text(self.server.call("POST", path, body)["status"]["token"])
        (place / "ca.crt").write_text(self.server.kubeconfig.with_name("cert.pem").read_text())
        return place

    def refresh(self, uid: str) -> None:
        """Mounted ConfigMaps follow their objects: a link to the folder of all files is replaced at once."""
        for name, place in self.mounted.get(uid, {}).items():
            data = self.server.call("GET", self.path("configmaps", name))["data"]
            if any(
                not (place / file).exists() or (place / file).read_text() != text
                for file, text in data.items()
            ):
                version = place / f"..{time.monotonic_ns()}"
                version.mkdir()
                for file, text in data.items():
                    (version / file).write_text(text)
                    if not (place / file).is_symlink():
                        (place / file).symlink_to(f"..data/{file}")
                (place / "..data_tmp").symlink_to(version.name)
                (place / "..data_tmp").replace(place / "..data")

    def environment(self, pod: Object, container: Object) -> dict[str, str]:
        env: dict[str, str] = {}
        for source in container.get("envFrom") or []:
            data = self.server.call("GET", self.path("secrets", source["secretRef"]["name"]))["data"]
            env |= {key: base64.b64decode(value).decode() for key, value in data.items()}
        for each in container["env"]:
            field = each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            env[each["name"]] = each.get("value") or field_of(pod, field, *self.address(pod))
        return env

    def stop(self) -> None:
        """End all containers, after the controllers."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        for process in self.processes.values():
            process.wait()
        if self.network is not None:
            self.network.close()
