"""Create the objects of one attempt: tried out on the server first, and found again where an earlier request was answered by nobody."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from launcher.backends.kubernetes.client import Cluster, Object
from launcher.backends.kubernetes.errors import ClusterError
from launcher.backends.kubernetes.machines import in_network, options_of
from launcher.backends.kubernetes.manifests import manifests
from launcher.backends.kubernetes.names import RUN_ID, RUN_LABEL, RUN_URL, job_name, run_labels, store_secret
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
    parts, job = whole[:-1], whole[-1]
    for manifest in (*parts, job):
        _try_out(cluster, manifest)
    made: list[Object] = []
    try:
        for manifest in parts:
            if _create(cluster, manifest, plan):
                made.append(manifest)
        _create(cluster, job, plan)
    except BaseException:
        _take_back(cluster, made, job)
        raise
    created = cluster.get(path_of(job))
    if created is None:
        raise BackendError(f"the job {path_of(job)} was deleted as soon as it was made")
    _own(cluster, parts, created)
    return created


def _try_out(cluster: Cluster, manifest: Object) -> None:
    try:
        cluster.create(collection_of(manifest), manifest, dry_run=True)
    except ClusterError as error:
        if not error.exists:
            raise


def _create(cluster: Cluster, manifest: Object, plan: Plan) -> bool:
    """False when it is there already. Raises BackendError when that is another run's, or about to go."""
    try:
        cluster.create(collection_of(manifest), manifest)
        return True
    except ClusterError as error:
        if not error.exists:
            raise
    found = cluster.get(path_of(manifest)) or {}
    metadata = found.get("metadata") or {}
    ours = (metadata.get("labels") or {}).get(RUN_LABEL) == manifest["metadata"]["labels"][RUN_LABEL]
    noted = metadata.get("annotations") or {}
    if RUN_ID in (manifest["metadata"].get("annotations") or {}):
        ours = ours and noted.get(RUN_ID) == plan.run_id and noted.get(RUN_URL) == plan.store.url
    if not ours:
        raise BackendError(
            f"{manifest['kind']} {manifest['metadata']['name']} exists, and is not of this run",
            where=path_of(manifest),
            hint="submit the job again; a new run gets a name of its own",
        )
    if metadata.get("deletionTimestamp"):
        raise BackendError(
            f"{manifest['kind']} {manifest['metadata']['name']} is being deleted",
            where=path_of(manifest),
            hint="wait until it is gone, then resume the run",
        )
    return False


def _own(cluster: Cluster, parts: Sequence[Object], job: Object) -> None:
    """Let the job own its parts, so that they go with it. A server that refuses leaves them behind, which is a warning."""
    metadata = job["metadata"]
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    for part in parts:
        try:
            cluster.patch(path_of(part), {"metadata": {"ownerReferences": [owner]}})
        except ClusterError as error:
            log.warning("%s stays when the job is deleted: %s", part["metadata"]["name"], error.what)


def _take_back(cluster: Cluster, made: Sequence[Object], job: Object) -> None:
    """Remove what this submission made, unless the job is there after all."""
    with suppress(BackendError):
        if cluster.get(path_of(job)) is not None:
            return
        for part in made:
            cluster.delete(path_of(part), "Background")
