"""Checks that ask the cluster: the package, credentials, rights, the namespace, the queue, NPUs, and a trial of the manifests."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.backends.kubernetes.client import PACKAGE, Cluster, package_missing
from launcher.backends.kubernetes.errors import INSTALL, ClusterError
from launcher.backends.kubernetes.machines import options_of
from launcher.backends.kubernetes.manifests import manifests
from launcher.backends.kubernetes.npus import npus_of
from launcher.backends.kubernetes.paths import collection_of, plain, queue
from launcher.backends.kubernetes.send import secret_of
from launcher.errors import BackendError
from launcher.findings import Finding
from launcher.installed import version_of
from launcher.plan.model import Plan

_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_OTHERS = "/apis/authorization.k8s.io/v1/namespaces/{}/localsubjectaccessreviews"


def doctor_checks() -> list[Finding]:
    """Whether this machine has the package and a cluster that answers."""
    if package_missing():
        return [Finding("Kubernetes", "info", f"no package {PACKAGE}: {INSTALL} for that back end")]
    version = version_of(PACKAGE)
    cluster = Cluster(patience_s=3.0)
    try:
        answer = cluster.get("/version") or {}
    except BackendError as error:
        return [
            Finding(
                "Kubernetes", "info", f"package {version}, but no cluster: {error.headline}", fix=error.hint
            )
        ]
    words = f"package {version}, {cluster.server} is {answer.get('gitVersion', 'of an unknown version')}"
    return [Finding("Kubernetes", "ok", words)]


def check_cluster(plan: Plan, cluster: Cluster) -> list[Finding]:
    """Changes nothing there; a cluster that does not answer is a finding, too."""
    if package_missing():
        message = "the package kubernetes is not installed"
        return [Finding("K8050", "error", message, "resources.backend", INSTALL)]
    try:
        return list(_asked(plan, cluster))
    except ClusterError as error:
        return [Finding("K8051", "error", error.headline, "kubernetes", error.hint, source="platform")]
    except BackendError as error:
        server = error.where or "kubernetes"
        return [
            Finding(
                "K8051",
                "error",
                f"{server}: {error.what}",
                "kubernetes.context",
                error.hint,
                source="platform",
            )
        ]


def _asked(plan: Plan, cluster: Cluster) -> Iterator[Finding]:
    options = options_of(plan)
    yield from _rights(plan, cluster)
    yield from _starter(plan, cluster)
    yield from _queue(plan, cluster)
    yield from _npus(plan, cluster)
    secret = options.secret
    if secret and _may_get(cluster, f"{plain('Secret', options.namespace)}/{secret}") is False:
        message = f"there is no Secret {secret} in {options.namespace}: pods would not start"
        fix = f"kubectl -n {options.namespace} create secret generic {secret} …"
        yield Finding("K8056", "error", message, "kubernetes.secret", fix, source="platform")
    yield from _trial(plan, cluster)


def _may_get(cluster: Cluster, path: str) -> bool | None:
    """Whether an object is there; None where this account may not read it."""
    try:
        return cluster.get(path) is not None
    except ClusterError as error:
        if error.status == 403:
            return None
        raise


def _rights(plan: Plan, cluster: Cluster) -> Iterator[Finding]:
    job = manifests(plan, 1)[-1]
    group, _, _ = job["apiVersion"].partition("/")
    plural = collection_of(job).rpartition("/")[2]
    wanted = [
        (group, plural, "create"),
        (group, plural, "delete"),
        ("", "configmaps", "create"),
        ("", "pods", "list"),
    ]
    wanted += [] if options_of(plan).secret else [("", "secrets", "create")]
    wanted += [("batch", "jobs", "create")] if plan.after_jobs or options_of(plan).max_parallel else []
    for api, resource, verb in wanted:
        asked = {"namespace": options_of(plan).namespace, "group": api, "resource": resource, "verb": verb}
        answer = cluster.create(
            _REVIEW,
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked},
            },
        )
        if not (answer.get("status") or {}).get("allowed"):
            message = f"your account may not {verb} {resource} in the namespace {asked['namespace']}"
            yield Finding(
                "K8052",
                "error",
                message,
                "kubernetes.namespace",
                "ask the namespace's administrator for a role that may",
                source="platform",
            )


def _starter(plan: Plan, cluster: Cluster) -> Iterator[Finding]:
    """Whether the starter's account may make the job, where this account may ask so."""
    options = options_of(plan)
    if options.starter_account is None or not (plan.after_jobs or options.max_parallel):
        return
    user = f"system:serviceaccount:{options.namespace}:{options.starter_account}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{options.namespace}", "system:authenticated"]
    job = manifests(plan, 1)[-1]
    group, plural = job["apiVersion"].partition("/")[0], collection_of(job).rpartition("/")[2]
    for api, resource, verb in (
        (group, plural, "create"),
        (group, plural, "list"),
        ("", "configmaps", "patch"),
    ):
        asked = {"namespace": options.namespace, "group": api, "resource": resource, "verb": verb}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "LocalSubjectAccessReview",
            "metadata": {"namespace": options.namespace},
            "spec": {"user": user, "groups": groups, "resourceAttributes": asked},
        }
        try:
            answer = cluster.create(_OTHERS.format(options.namespace), body)
        except ClusterError as error:
            if error.status == 403:
                return
            raise
        if not (answer.get("status") or {}).get("allowed"):
            message = (
                f"the account {options.starter_account} may not {verb} {resource} in {options.namespace}"
            )
            fix = f"kubectl -n {options.namespace} apply -f docs/kubernetes-starter.yaml"
            yield Finding("K8058", "error", message, "kubernetes.starter_account", fix, source="platform")
            return


def _queue(plan: Plan, cluster: Cluster) -> Iterator[Finding]:
    options = options_of(plan)
    if options.kind == "job":
        return
    name = options.queue or "default"
    try:
        found = cluster.get(queue(name))
    except ClusterError as error:
        if error.status == 403:
            return
        raise
    if found is None:
        yield Finding(
            "K8053",
            "error",
            f"there is no queue {name}",
            "kubernetes.queue",
            "`kubectl get queues` lists them",
            source="platform",
        )
    elif str((found.get("status") or {}).get("state") or "Open") != "Open":
        message = f"the queue {name} is {found['status']['state']}"
        yield Finding(
            "K8053", "error", message, "kubernetes.queue", "choose one that is open", source="platform"
        )


def _npus(plan: Plan, cluster: Cluster) -> Iterator[Finding]:
    npus = npus_of(plan)
    if npus is None:
        return
    try:
        nodes = cluster.items("/api/v1/nodes")
    except ClusterError as error:
        if error.status == 403:
            return
        raise
    counts = [
        str(((node.get("status") or {}).get("allocatable") or {}).get(npus.resource, "0")) for node in nodes
    ]
    fit = [count for count in counts if count.isdecimal() and int(count) >= plan.devices_per_node]
    if len(fit) < plan.nodes:
        message = f"{len(fit)} node(s) have {plan.devices_per_node} of {npus.resource}, the job asks for {plan.nodes}"
        yield Finding(
            "K8054",
            "warning",
            message,
            "resources.nodes",
            "it will wait until there are more; `kubectl describe nodes` shows what they have",
            source="platform",
        )


def _trial(plan: Plan, cluster: Cluster) -> Iterator[Finding]:
    """The server's own opinion of the manifests, with its admission rules; it keeps nothing."""
    try:
        secret = secret_of(plan, 1)
    except BackendError as error:
        yield Finding("K8057", "error", error.what, error.where, error.hint)
        return
    for manifest in [*([secret] if secret else []), *manifests(plan, 1)]:
        try:
            cluster.create(collection_of(manifest), manifest, dry_run=True)
        except ClusterError as error:
            if error.temporary or error.status == 401:
                raise
            if not error.exists:
                yield Finding(
                    "K8055",
                    "error",
                    error.what,
                    f"kubernetes ({manifest['kind']})",
                    error.hint,
                    source="platform",
                )
