"""The only program of a starter: makes the jobs of runs that wait for others, when their time has come.

The starter's manifest holds this text, so it needs nothing but Python, and an account that may make jobs. What it knows is in the
ConfigMaps of the runs: a starter that is killed, or loses its node, goes on where it was. It ends when no run waits any more.
"""

import json
import os
import signal
import ssl
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

Object = dict[str, Any]
GOOD = ("Complete", "Completed", "Succeeded")
BAD = ("Failed", "Aborted", "Terminated")
NEVER = (400, 404, 422)
"""What a server answers to a job that it will not take later, either."""


class Api:
    """The server of the cluster that this pod is in, by the pod's own account."""

    def __init__(self, account: Path, host: str, port: str) -> None:
        self._account = account
        self._address = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        """Raises HTTPError, OSError, HTTPException, ValueError. The token is read each time: it is renewed."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._address + path, data=data, method=method)  # noqa: S310 - https
        request.add_header("Authorization", f"Bearer {(self._account / 'token').read_text().strip()}")
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request.add_header("Content-Type", kind)
        tls = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        direct = urllib.request.ProxyHandler({})
        opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=tls))
        with opener.open(request, timeout=30) as answer:
            value = json.loads(answer.read())
        if not isinstance(value, dict):
            raise ValueError("no object")
        return value

    def get(self, path: str) -> Object | None:
        try:
            return self.call("GET", path)
        except HTTPError as error:
            if error.code != 404:
                raise
            return None


class Starter:
    """One line of runs. `maps`: the collection of ConfigMaps of the namespace. `most`: so many jobs at a time; 0: any number."""

    def __init__(self, api: Api, maps: str, label: str, most: int) -> None:
        self._api, self._maps, self._label, self._most = api, maps, label, most

    def look(self) -> bool:
        """One round. False when no run waits any more."""
        runs = self._api.call("GET", f"{self._maps}?labelSelector={quote(self._label)}")["items"]
        runs.sort(key=lambda run: int(run["data"]["order"]))
        if not any(run["data"]["state"] == "waits" for run in runs):
            return False
        jobs: dict[str, Object] = {}
        for collection in sorted({run["data"]["collection"] for run in runs}):
            for job in self._api.call("GET", f"{collection}?labelSelector={quote(self._label)}")["items"]:
                jobs[job["metadata"]["name"]] = job
        active = [run_of(job) for job in jobs.values() if outcome(job) == "open"]
        for run in runs:
            if run["data"]["state"] != "waits":
                continue
            if (name := job_name(run)) in jobs:  # made by a starter that ended before it could note this
                self._note_start(run, self._api.call("GET", f"{run['data']['collection']}/{name}"))
            elif self._begins(run, active):
                active.append(run["data"]["run"])
        return True

    def _begins(self, run: Object, active: list[str]) -> bool:
        """Make the run's job, or note what it waits for. `active`: runs of the line whose jobs have not ended."""
        conditions, after = json.loads(run["data"]["after"]), []
        for each in conditions:
            state = self._state_of(each)
            if state == "open":
                after.append(each)
            elif state != "good":
                self._note(run, state="refused", reason=f"it was to follow {each['run']}, which {state}")
                return False
        if after != conditions:  # the job may be deleted after its success
            self._note(run, after=json.dumps(after))
        others = active if 0 < self._most <= len(active) else []
        if json.loads(run["data"]["others"]) != others:
            self._note(run, others=json.dumps(others))
        return not after and not others and self._start(run)

    def _state_of(self, condition: Object) -> str:
        """`good`, `open`, or what has become of a run that can't succeed any more."""
        job = self._api.get(condition["job"])
        if job is not None:
            state = outcome(job)
            return f"has ended {state}" if state not in ("good", "open") else state
        waits = self._api.get(condition["waits"])
        if waits is None:
            return "was deleted"
        words = {"waits": "open", "refused": "was never started"}
        return words.get(waits["data"]["state"], "was deleted")

    def _start(self, run: Object) -> bool:
        try:
            job = self._api.call("POST", run["data"]["collection"], json.loads(run["data"]["job"]))
        except HTTPError as error:
            if error.code == 409:  # seen in the next round
                return True
            words = words_of(error)
            if error.code in NEVER:
                self._note(run, state="refused", reason=f"the server refuses its job: {words}")
            elif (
                run["data"]["reason"] != words
            ):  # a quota, or a server that is busy: once more in the next round
                self._note(run, reason=words)
            return False
        self._note_start(run, job)
        say(f"started {run['data']['run']}")
        return True

    def _note_start(self, run: Object, job: Object) -> None:
        """The job owns the ConfigMap from now on, which goes with it. A run that was cancelled meanwhile loses its job again."""
        owner = {"apiVersion": job["apiVersion"], "kind": job["kind"]}
        owner |= {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
        body = {"metadata": {"ownerReferences": [owner]}, "data": {"state": "started", "reason": ""}}
        try:
            self._api.call("PATCH", f"{self._maps}/{run['metadata']['name']}", body)
        except HTTPError as error:
            if error.code != 404:
                raise
            delete = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
            self._api.call("DELETE", f"{run['data']['collection']}/{job_name(run)}", delete)

    def _note(self, run: Object, **data: str) -> None:
        try:
            self._api.call("PATCH", f"{self._maps}/{run['metadata']['name']}", {"data": data})
        except HTTPError as error:
            if error.code != 404:  # cancelled
                raise


def job_name(run: Object) -> str:
    return str(json.loads(run["data"]["job"])["metadata"]["name"])


def run_of(job: Object) -> str:
    return str(
        (job["metadata"].get("annotations") or {}).get("ascend-launcher/run-id", job["metadata"]["name"])
    )


def outcome(job: Object) -> str:
    """`open`, `good`, or the cluster's word for another end."""
    status = job.get("status") or {}
    words = [str((status.get("state") or {}).get("phase"))]
    words += [str(each["type"]) for each in status.get("conditions") or [] if each.get("status") == "True"]
    if bad := [word for word in words if word in BAD]:
        return bad[0]
    return "good" if any(word in GOOD for word in words) else "open"


def words_of(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])[:500]
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


def main() -> int:
    """Ends when no run waits, or when the account lacks a right: then the pod is started again later."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a container has no default
    facts, account = json.loads(os.environ["LAUNCHER_LINE"]), Path(os.environ["LAUNCHER_ACCOUNT"])
    api = Api(account, os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
    starter, shown = Starter(api, facts["maps"], facts["label"], facts["most"]), ""
    while True:
        try:
            waits, trouble = starter.look(), ""
        except HTTPError as error:
            waits, trouble = True, words_of(error)
            if error.code in (401, 403):
                say(f"error: {trouble}")
                return 77
        except (OSError, HTTPException, ValueError) as error:
            waits, trouble = True, f"{type(error).__name__}: {error}"
        if not waits:
            return 0
        if trouble and trouble != shown:
            say(f"the API server does not answer: {trouble}")
        shown = trouble
        time.sleep(facts["pause_s"])


if __name__ == "__main__":
    sys.exit(main())
