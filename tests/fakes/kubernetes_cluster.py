"""What a cluster has besides its API server: a controller that makes the pods of jobs, an operator that writes rank tables, and kubelets.

It stands at the outermost edge: everything goes through a real API server. Pods get the names, labels, annotations and variables that
Volcano and Kubernetes document, and their container's command runs with a clean environment.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from tests.fakes.kubernetes_kubelet import Kubelet
from tests.fakes.kubernetes_logs import log_server
from tests.fakes.kubernetes_operator import ASCEND, Object, Operator, templates_of
from tests.fakes.kubernetes_pod import is_over, make_pod
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
    """Controllers of one namespace, and its node. `hold`: pods stay without a node, with `reason` and `message` in their conditions."""

    def __init__(self, server: KubeServer, namespace: str, folder: Path) -> None:
        self.server, self.namespace = server, namespace
        self.node = Kubelet(server, namespace, folder)
        self.hold: tuple[str, str] | None = None
        self.operator = Operator(server, namespace)
        self.ended: set[str] = set()
        self.fates: dict[str, str] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(POLL_S):
            with suppress(OSError, HTTPException):  # the server may be away; a conflict is met again
                self.look()

    def look(self) -> None:
        of_jobs: dict[str, list[Object]] = {}
        for pod in self.pods():
            of_jobs.setdefault(pod["metadata"]["ownerReferences"][0]["uid"], []).append(pod)
        for api, plural in JOBS.items():
            for job in self.server.call("GET", f"{api}/namespaces/{self.namespace}/{plural}")["items"]:
                pods = of_jobs.get(job["metadata"]["uid"], [])
                if not job["metadata"].get("deletionTimestamp") and not pods and not is_over(job):
                    self.make_pods(api, job)
                elif pods and not is_over(job) and not self.operator.restart(job, pods):
                    self.operator.complete(job, pods)
                    self.judge(api, job, pods)
        for pod in self.pods():
            self.kubelet(pod)

    def path(self, *parts: str) -> str:
        return "/".join([f"/api/v1/namespaces/{self.namespace}", *parts])

    def pods(self) -> list[Object]:
        return list(self.server.call("GET", self.path("pods"))["items"])

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
        process = self.node.processes.get(uid)
        if pod["metadata"].get("deletionTimestamp"):
            if not self.node.end(pod):
                return
            body = {"gracePeriodSeconds": 0, "kind": "DeleteOptions", "apiVersion": "v1"}
            self.server.call("DELETE", self.path("pods", name), body)
        elif process is not None:
            if process.poll() and pod["spec"]["restartPolicy"] == "OnFailure":
                self.start_container(pod)
            elif (code := process.poll()) is not None and uid not in self.ended:
                self.report_end(pod, code)
                self.ended.add(uid)
            elif uid not in self.ended:
                self.node.refresh(uid)
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
        self.start_container(pod)

    def start_container(self, pod: Object) -> None:
        self.node.begin(pod)
        restarts = self.node.begun[pod["metadata"]["uid"]] - 1
        state = {"name": pod["spec"]["containers"][0]["name"], "image": "", "imageID": "", "ready": True}
        running = {
            **state,
            "restartCount": restarts,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }
        address, host = self.node.address(pod)
        self.status(
            pod, {"phase": "Running", "podIP": address, "hostIP": host, "containerStatuses": [running]}
        )

    def strike(self, uid: str, how: str) -> None:
        """`kill` ends a pod's program at once. `lose`: its node is gone as well. `evict`: it gets SIGTERM, and may save."""
        self.fates[uid] = how
        process = self.node.processes[uid]
        (process.terminate if how == "evict" else process.kill)()

    def report_end(self, pod: Object, code: int) -> None:
        fate = self.fates.get(pod["metadata"]["uid"], "")
        reason, message = FATES.get(fate, ("", ""))
        taken = {"reason": reason, "message": message} if reason else {}
        if fate == "lose":  # its kubelet tells nothing any more
            self.status(pod, {"phase": "Failed", **taken})
            return
        container = pod["spec"]["containers"][0]["name"]
        text = self.node.logs[pod["metadata"]["name"]].read_text(errors="replace")[-TAIL_BYTES:]
        ended = {
            "exitCode": code if code >= 0 else 128 - code,
            "reason": "Completed" if code == 0 else "Error",
        }
        ended |= {"message": text} if code else {}
        state = {"name": container, "image": "", "imageID": "", "ready": False, "restartCount": 0}
        phase = "Failed" if code or taken else "Succeeded"
        statuses = [{**state, "state": {"terminated": ended}}]
        self.status(pod, {"phase": phase, **taken, "containerStatuses": statuses})


@contextmanager
def fake_cluster(server: KubeServer, namespace: str, folder: Path) -> Iterator[FakeCluster]:
    """Controllers and one node, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = FakeCluster(server, namespace, folder)
    kubelet = log_server(folder, cluster.node.logs)
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
        cluster.node.stop()
        kubelet.shutdown()
        logs.join()
        kubelet.server_close()
