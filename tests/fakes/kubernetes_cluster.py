"""What a cluster has besides its API server: a controller that makes the pods of jobs, an operator that writes rank tables, and kubelets.

It stands at the outermost edge: everything goes through a real API server. Pods get the names, labels, annotations and variables that
Volcano and Kubernetes document, and their container's command runs as a process of this machine, with a clean environment.
What a container would see at the mount of a ConfigMap lies in a folder of the pod, and variables that name it are changed so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from tests.fakes.kubernetes_logs import log_server
from tests.fakes.kubernetes_operator import ASCEND, Object, Operator, templates_of
from tests.fakes.kubernetes_pod import ACCOUNT, field_of, is_over, make_pod, moved, service_of
from tests.servers.kube import KubeServer

POLL_S = 0.1
JOBS = {"/apis/batch.volcano.sh/v1alpha1": "jobs", "/apis/batch/v1": "jobs", ASCEND: "ascendjobs"}
TAIL_BYTES = 2048
FATES = {
    "evict": ("Evicted", "The node was low on resource: memory."),
    "lose": ("NodeLost", "Node n1 which was running the pod is unresponsive"),
}
"""What a cluster says of a pod that it took the node away from, by what a test does to it."""


class FakeCluster:
    """Controller and kubelets of one namespace. `hold`: pods stay without a node, with `reason` and `message` in their conditions.
    `env`: what the driver of the nodes adds to each pod."""

    def __init__(self, server: KubeServer, namespace: str, folder: Path) -> None:
        self.server, self.namespace, self.folder = server, namespace, folder
        self.hold: tuple[str, str] | None = None
        self.env: dict[str, str] = {}
        self.operator = Operator(server, namespace)
        self.mounted: dict[str, dict[str, Path]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.logs: dict[str, Path] = {}
        self.ended: set[str] = set()
        self.fates: dict[str, str] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(POLL_S):
            with suppress(OSError, HTTPException):  # the server may be away; a conflict is met again
                self.look()

    def look(self) -> None:
        for api, plural in JOBS.items():
            for job in self.server.call("GET", f"{api}/namespaces/{self.namespace}/{plural}")["items"]:
                pods = self.pods_of(job)
                if not job["metadata"].get("deletionTimestamp") and not pods and not is_over(job):
                    self.make_pods(api, job)
                elif pods and not is_over(job) and not self.operator.restart(job, pods):
                    self.operator.complete(job, pods)
                    self.judge(api, job, pods)
        for pod in self.server.call("GET", self.path("pods"))["items"]:
            self.kubelet(pod)

    def path(self, *parts: str) -> str:
        return "/".join([f"/api/v1/namespaces/{self.namespace}", *parts])

    def pods_of(self, job: Object) -> list[Object]:
        uid = job["metadata"]["uid"]
        pods = self.server.call("GET", self.path("pods"))["items"]
        return [each for each in pods if each["metadata"]["ownerReferences"][0]["uid"] == uid]

    # ---- the controller

    def make_pods(self, api: str, job: Object) -> None:
        if "volcano" in api:
            templates = [job["spec"]["tasks"][0]["template"]] * job["spec"]["tasks"][0]["replicas"]
        elif api == ASCEND:
            templates = [template for _, template in templates_of(job)]
        else:
            templates = [job["spec"]["template"]] * job["spec"]["completions"]
        for index, template in enumerate(templates):
            self.server.call("POST", self.path("pods"), make_pod(api, job, template, index, len(templates)))

    def judge(self, api: str, job: Object, pods: list[Object]) -> None:
        phases = [pod["status"].get("phase", "Pending") for pod in pods]
        if all(phase in ("Succeeded", "Failed") for phase in phases):
            good = "Failed" not in phases
        elif "Running" in phases:
            good = None
        else:
            return
        if "volcano" in api:
            word = "Running" if good is None else "Completed" if good else "Failed"
            status: Object = {"state": {"phase": word}}
        elif api == ASCEND:
            word = "Running" if good is None else "Succeeded" if good else "Failed"
            status = {"conditions": [{"type": word, "status": "True"}], "replicaStatuses": {}}
        elif good is None:
            status = {"active": phases.count("Running")}
        else:
            condition = {"type": "Complete" if good else "Failed", "status": "True"}
            status = {"active": 0, "conditions": [condition]}
        if any(job.get("status", {}).get(key) != value for key, value in status.items()):
            path = f"{api}/namespaces/{self.namespace}/{JOBS[api]}/{job['metadata']['name']}/status"
            self.server.call("PATCH", path, {"status": status})

    # ---- the kubelets

    def kubelet(self, pod: Object) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        process = self.processes.get(uid)
        if pod["metadata"].get("deletionTimestamp"):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                return
            body = {"gracePeriodSeconds": 0, "kind": "DeleteOptions", "apiVersion": "v1"}
            self.server.call("DELETE", self.path("pods", name), body)
        elif process is not None:
            if process.poll() and pod["spec"]["restartPolicy"] == "OnFailure":
                self.begin(pod)
            elif process.poll() is not None and uid not in self.ended:
                self.report_end(pod, process.returncode)
                self.ended.add(uid)
            elif uid not in self.ended:
                self.refresh(uid)
        elif self.hold is not None:
            reason, message = self.hold
            self.condition(pod, reason, message)
        else:
            self.start(pod)

    def condition(self, pod: Object, reason: str, message: str) -> None:
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        if not any(each.get("message") == message for each in pod["status"].get("conditions") or []):
            self.status(pod, {"phase": "Pending", "conditions": [unscheduled]})

    def status(self, pod: Object, status: Object) -> None:
        self.server.call("PATCH", self.path("pods", pod["metadata"]["name"], "status"), {"status": status})

    def start(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        bind = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"kind": "Node", "name": "n1"},
        }
        with suppress(HTTPError):
            self.server.call("POST", self.path("pods", name, "binding"), bind)
        self.begin(pod)
        state = {"name": pod["spec"]["containers"][0]["name"], "image": "", "imageID": "", "ready": True}
        running = {**state, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        self.status(pod, {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [running]})

    def begin(self, pod: Object) -> None:
        """Start the container's command, for the first time or once more."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        home = self.folder / uid
        home.mkdir(parents=True, exist_ok=True)
        container, mounted = pod["spec"]["containers"][0], self.mount(pod, home)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HOSTNAME": name,
            "LAUNCHER_NO_AGENCY": "1",
            **service_of(self.server.address),
            **self.env,
        }
        env |= {key: moved(value, mounted) for key, value in self.environment(pod, container).items()}
        self.logs[name] = log = home / "output.log"
        with log.open("ab") as output:
            self.processes[uid] = subprocess.Popen(
                container["command"], env=env, cwd=home, stdout=output, stderr=output, start_new_session=True
            )

    def mount(self, pod: Object, home: Path) -> dict[str, str]:
        """ConfigMaps and the account's token as folders; where each mount is really."""
        maps = {
            each["name"]: each["configMap"]["name"]
            for each in pod["spec"].get("volumes") or []
            if "configMap" in each
        }
        found = {}
        for each in pod["spec"]["containers"][0].get("volumeMounts") or []:
            if each["name"] in maps:
                place = home / each["name"]
                place.mkdir(exist_ok=True)
                self.mounted.setdefault(home.name, {})[maps[each["name"]]] = place
                found[each["mountPath"]] = str(place)
        if pod["spec"].get("automountServiceAccountToken"):
            found[ACCOUNT] = str(self.account(pod["spec"]["serviceAccountName"], home / "account"))
        self.refresh(home.name)
        return found

    def account(self, name: str, place: Path) -> Path:
        """A token of the pod's service account, as the kubelet asks for it."""
        place.mkdir(exist_ok=True)
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        (place / "token").write_text(self.server.call("POST", path, body)["status"]["token"])
        (place / "ca.crt").write_text(self.server.kubeconfig.with_name("cert.pem").read_text())
        return place

    def refresh(self, uid: str) -> None:
        """Mounted ConfigMaps follow their objects; a file is replaced as a whole."""
        for name, place in self.mounted.get(uid, {}).items():
            for file, text in self.server.call("GET", self.path("configmaps", name))["data"].items():
                if not (place / file).exists() or (place / file).read_text() != text:
                    (place / ".new").write_text(text)
                    (place / ".new").replace(place / file)

    def environment(self, pod: Object, container: Object) -> dict[str, str]:
        import base64

        env: dict[str, str] = {}
        for source in container.get("envFrom") or []:
            data = self.server.call("GET", self.path("secrets", source["secretRef"]["name"]))["data"]
            env |= {key: base64.b64decode(value).decode() for key, value in data.items()}
        for each in container["env"]:
            env[each["name"]] = each.get("value") or field_of(
                pod, each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            )
        return env

    def strike(self, uid: str, how: str) -> None:
        """`kill` ends a pod's program at once. `lose`: its node is gone as well. `evict`: it gets SIGTERM, and may save."""
        self.fates[uid] = how
        self.processes[uid].send_signal(signal.SIGTERM if how == "evict" else signal.SIGKILL)

    def report_end(self, pod: Object, code: int) -> None:
        fate = self.fates.get(pod["metadata"]["uid"], "")
        reason, message = FATES.get(fate, ("", ""))
        taken = {"reason": reason, "message": message} if reason else {}
        if fate == "lose":  # its kubelet tells nothing any more
            self.status(pod, {"phase": "Failed", **taken})
            return
        container = pod["spec"]["containers"][0]["name"]
        text = self.logs[pod["metadata"]["name"]].read_text(errors="replace")[-TAIL_BYTES:]
        ended = {
            "exitCode": code if code >= 0 else 128 - code,
            "reason": "Completed" if code == 0 else "Error",
        }
        ended |= {"message": text} if code else {}
        state = {"name": container, "image": "", "imageID": "", "ready": False, "restartCount": 0}
        phase = "Failed" if code or taken else "Succeeded"
        statuses = [{**state, "state": {"terminated": ended}}]
        self.status(pod, {"phase": phase, **taken, "containerStatuses": statuses})

    def stop(self) -> None:
        """End all containers, after the controllers."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def fake_cluster(server: KubeServer, namespace: str, folder: Path) -> Iterator[FakeCluster]:
    """Controllers and one node, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = FakeCluster(server, namespace, folder)
    kubelet = log_server(folder, cluster.logs)
    logs, controllers = (threading.Thread(target=each) for each in (kubelet.serve_forever, cluster.run))
    with suppress(HTTPError):
        server.call("DELETE", "/api/v1/nodes/n1")
    server.call("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    endpoint = {"kubeletEndpoint": {"Port": kubelet.server_address[1]}}
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    server.call(
        "PATCH", "/api/v1/nodes/n1/status", {"status": {"addresses": addresses, "daemonEndpoints": endpoint}}
    )
    queue = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "metadata": {"name": "default"}}
    with suppress(HTTPError):  # one of an earlier test
        server.call("POST", "/apis/scheduling.volcano.sh/v1beta1/queues", {**queue, "spec": {"weight": 1}})
    for thread in (logs, controllers):
        thread.start()
    try:
        yield cluster
    finally:
        cluster.stopping.set()
        controllers.join()  # nobody starts a container once more
        cluster.stop()
        kubelet.shutdown()
        logs.join()
        kubelet.server_close()
