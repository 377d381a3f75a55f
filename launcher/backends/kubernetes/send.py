"""Create the objects of one attempt: tried out on the server first, and found again where an earlier request was answered by nobody."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from launcher.backends.kubernetes.client import Cluster, Object
from launcher.backends.kubernetes.errors import ClusterError
from launcher.backends.kubernetes.line import line_manifests, path_of_reference, path_of_wait
from launcher.backends.kubernetes.machines import in_network, options_of
from launcher.backends.kubernetes.manifests import job_manifest, manifests
from launcher.backends.kubernetes.names import (
    RUN_ID,
    RUN_LABEL,
    RUN_URL,
    STARTER_LABEL,
    base_name,
    job_name,
    run_labels,
    store_secret,
    wait_name,
)
from launcher.backends.kubernetes.paths import collection_of, path_of
from launcher.errors import BackendError
from launcher.plan.model import Plan
from launcher.storage.registry import Options, parse_url
from launcher.storage.s3.keychain import key_chain

log = logging.getLogger(__name__)
_PLACES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables on where a store is, which pods need as we do."""


def secret_of(plan: Plan, attempt: int, env: Mapping[str, str] = os.environ) -> Object | None:
    """The Secret with our own credentials; None where the job file names one, or the store needs none. Raises BackendError."""
    options = options_of(plan)
    if options.secret or not in_network(plan):
        return None
    scheme = parse_url(plan.store.url).scheme
    keys = key_chain(scheme, Options(profile=plan.store.profile, env=dict(env))).current()
    if keys is None:
        raise BackendError(
            f"no credentials for {plan.store.url} here that pods could use",
            where="kubernetes.secret",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, use a profile, or name a Secret of the namespace",
        )
    values = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    values |= {"AWS_SESSION_TOKEN": keys.token} if keys.token else {}
    values |= {name: env[name] for name in _PLACES if env.get(name)}
    name = store_secret(job_name(plan.run_id, attempt))
    labels = run_labels(plan.run_id, attempt)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": options.namespace, "labels": labels},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def send(cluster: Cluster, plan: Plan, attempt: int) -> Object:
    """The job, created or found. Safe to repeat, from several machines at once. Raises BackendError, with nothing of ours left."""
    secret = secret_of(plan, attempt)
    whole = [*([secret] if secret else []), *manifests(plan, attempt)]
    created = _create_all(cluster, whole)
    for part in whole[:-1]:
        _own(cluster, part, [created[-1]])
    return created[-1]


def send_line(cluster: Cluster, plans: Sequence[Plan], attempt: int) -> None:
    """A line of runs and its starter. Each run's ConfigMap owns the run's parts, and all of them own the starter: what is cancelled
    or deleted takes along what nothing else needs. Raises BackendError, with nothing of ours left."""
    for reference in plans[0].after_jobs:
        job, wait = path_of_reference(reference), path_of_wait(reference)
        if cluster.get(job) is None and cluster.get(wait) is None:
            raise BackendError(
                f"there is no job {job} in this cluster: no run can follow it",
                where="kubernetes.after",
                hint="name runs that wait or run in this cluster",
            )
    for plan in plans:
        _try_out(cluster, job_manifest(plan, attempt))  # the starter sends it later
    secrets = [secret for plan in plans if (secret := secret_of(plan, attempt)) is not None]
    created = _create_all(cluster, [*secrets, *line_manifests(plans, attempt)])
    waits = []
    for plan in plans:
        own = [
            each for each in created[:-1] if each["metadata"]["labels"][RUN_LABEL] == base_name(plan.run_id)
        ]
        name = wait_name(job_name(plan.run_id, attempt))
        waits += [each for each in own if each["metadata"]["name"] == name]
        for part in own:
            if part is not waits[-1]:
                _own(cluster, part, waits[-1:])
    _own(cluster, created[-1], waits)


def _create_all(cluster: Cluster, whole: Sequence[Object]) -> list[Object]:
    """Each as the server has it. The last one counts: the others are of no use without it."""
    for manifest in whole:
        _try_out(cluster, manifest)
    made: list[Object] = []
    created: list[Object] = []
    try:
        for manifest in whole:
            found, new = _create(cluster, manifest)
            created.append(found)
            made += [manifest] if new else []
    except BaseException:
        _take_back(cluster, made, whole[-1])
        raise
    return created


def _try_out(cluster: Cluster, manifest: Object) -> None:
    try:
        cluster.create(collection_of(manifest), manifest, dry_run=True)
    except ClusterError as error:
        if not error.exists:
            raise


def _create(cluster: Cluster, manifest: Object) -> tuple[Object, bool]:
    """The object as the server has it, and whether it is new. Raises BackendError when it is another run's, or about to go."""
    try:
        return cluster.create(collection_of(manifest), manifest), True
    except ClusterError as error:
        if not error.exists:
            raise
    found = cluster.get(path_of(manifest)) or {}
    metadata, ours = found.get("metadata") or {}, manifest["metadata"]
    same = all(
        (metadata.get(part) or {}).get(key) == (ours.get(part) or {}).get(key)
        for part, key in (
            ("labels", RUN_LABEL),
            ("labels", STARTER_LABEL),
            ("annotations", RUN_ID),
            ("annotations", RUN_URL),
        )
    )
    if not same:
        raise BackendError(
            f"{manifest['kind']} {ours['name']} exists, and is not of this run",
            where=path_of(manifest),
            hint="submit the job again; a new run gets a name of its own",
        )
    if metadata.get("deletionTimestamp"):
        raise BackendError(
            f"{manifest['kind']} {ours['name']} is being deleted",
            where=path_of(manifest),
            hint="wait until it is gone, then resume the run",
        )
    return found, False


def _own(cluster: Cluster, part: Object, owners: Sequence[Object]) -> None:
    """Let the part go when the last of its owners does. A server that refuses leaves it behind, which is a warning."""
    references = [
        {
            "apiVersion": each["apiVersion"],
            "kind": each["kind"],
            "name": each["metadata"]["name"],
            "uid": each["metadata"]["uid"],
        }
        for each in owners
    ]
    try:
        cluster.patch(path_of(part), {"metadata": {"ownerReferences": references}})
    except ClusterError as error:
        log.warning("%s stays when its owner is deleted: %s", part["metadata"]["name"], error.what)


def _take_back(cluster: Cluster, made: Sequence[Object], job: Object) -> None:
    """Remove what this submission made, unless the job is there after all."""
    with suppress(BackendError):
        if cluster.get(path_of(job)) is not None:
            return
        for part in made:
            cluster.delete(path_of(part), "Background")
