"""A strict fake of ModelArts' training service on loopback: documented routes, signatures, limits and errors, and it runs the jobs.

    python -m tests.fakes.modelarts [FOLDER]

starts it together with an S3 server for a person to try, and prints what to export. Tests use `fake_modelarts`.

Where each behaviour is documented. SDK: the fields' texts of huaweicloudsdkmodelarts 3.1.219; API: the service's API reference;
CODES: its page of error codes; UMN: the user guide; none: nothing documents it, and this is our choice.

    signature SDK-HMAC-SHA256, X-Project-Id               SDK (core)
    fields and types of a job; unknown ones are 2788      SDK (classes)
    create 201, duplicate name 400 2751                   API, CODES
    names, variables, channels, retries, their limits     SDK, API
    image without command 400 2806                        CODES
    MA_ variables, but three                              UMN
    install_moxing needs engine and image                 SDK
    volumes and priority need a pool                      SDK, UMN
    no flavor in a pool of CPU machines                   SDK
    machines a multiple of the affinity's group           SDK
    pool: 404 2890 absent, 400 2887 not running           CODES
    image: 400 2810, 2811, 2885                           CODES
    image that can't be pulled: event, then Failed        none
    workspace 0102; a search shows one workspace          CODES, SDK
    quota 0116                                            CODES; the status 400 is our choice
    output of another live job 2791                       UMN; the code is our choice
    code folder 2757 to 2761                              CODES
    absent job 400 2775                                   CODES
    change of a live job                                  SDK
    addresses for ssh while a job runs                    SDK (field); their form is our choice
    stop 202; 409 2796 after the end                      API, CODES
    search: `offset` is a page, filters, 50 at most       SDK
    events: `offset` is a page                            SDK; the API reference counts records
    logs and metrics not ready 204 2776, 2777             CODES
    logs: empty base line is the newest part; `order`     SDK (v2), API (v1): `LogBook.reading`
    preview: newest 5 MB                                  API
    stages, running_records, recoveries                   SDK
    variables of a container, folders, channels           UMN
    rank table: a folder, groups, late                    UMN
    once per machine, or per card with a preset engine    UMN
    restart in place or on an empty machine, counters     UMN
    queue of a pool that is full, by priority             UMN; machines in order of address is our choice
    node_affinity, required and preferred                 SDK (classes)
    addresses of machines in dedicated pools only         SDK (tasks)
    another machine in place of one that is lost          SDK (`job_reschedule_with_taint`)
    restart of one container while others go on           none; a container's own restart on Kubernetes
    tags of a job, by a request of their own              SDK; the answer 204 is our choice
    pools, flavors, engines, images, quota, authorisation SDK (classes of the answers)
    keys in variables (ACCESS_KEY_ID)                     none
    keys in a file that is renewed (`extra_env`)          none; programs of the vendor name its variables
    auto_stop, SIGTERM and grace                          SDK; the grace is our choice
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.modelarts_cloud import Cloud
from tests.fakes.modelarts_jobs import Job, Times
from tests.fakes.modelarts_service import Answer, Service
from tests.fakes.modelarts_wire import Account, Refused, bad, verify
from tests.servers.s3 import S3Server, rclone_server


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        service = self.server.service
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        parts = urlsplit(self.path)
        word = ""
        try:
            verify(service.cloud.account, self.command, self.path, dict(self.headers.items()), data)
            name, handler, values = service.route(self.command, parts.path)
            if values["project"] != service.cloud.account.project_id:
                raise Refused(403, "ModelArts.0102", f"no project {values['project']}")
            if self.headers.get("X-Project-Id") != values["project"]:
                raise Refused(403, "ModelArts.0102", "X-Project-Id is not the project of the address")
            body = self._json(data)
            service.requests.append((name, body))
            word = service.faults.next(name)
            if word == "ends":
                service.cloud.get(values["job"]).phase = "Completed"
            if self._before(word):
                return
            query = {key: value[0] for key, value in parse_qs(parts.query).items()}
            if word.startswith("dark"):
                service.faults.add("search", *["503"] * 100)
            if word.startswith(("late", "dark ")):
                later = threading.Timer(float(word.split()[1]), _later, (handler, body, query, values))
                later.start()
                service.late.append(later)
                raise Refused(500, "ModelArts.0010", "internal error")
            status, answer = handler(body, query, **values)
            if word == "torn":
                text = json.dumps(answer)
                answer = text[: len(text) // 2]
            if word in ("lost", "dark"):
                self._cut()
                return
            if word == "broken":
                raise Refused(500, "ModelArts.0010", "internal error")
        except Refused as refused:
            status, answer = refused.status, refused.body()
        except (BrokenPipeError, ConnectionResetError):
            return
        self._send(status, answer)

    @staticmethod
    def _json(data: bytes) -> Any:
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise bad("2787", "the body is no JSON") from None

    def _before(self, word: str) -> bool:
        """Apply the faults that precede the request's effect. True when they have answered it."""
        if word.startswith("slow"):
            time.sleep(float(word.split()[1]))
        elif word == "drop":
            self._cut()
            return True
        elif word in ("html", "portal"):
            status, text = (502, "502 Bad Gateway") if word == "html" else (200, "Log in to the network")
            self._send(status, f"<html><h1>{text}</h1></html>", "text/html")
            return True
        elif word.startswith("refuse "):
            _, status, code = word.split()
            if code != "-":
                raise Refused(int(status), code, "refused by a test")
            self._send(int(status), "<html><h1>nothing here</h1></html>", "text/html")
            return True
        elif word.isdecimal():
            code = "APIGW.0308" if word == "429" else "ModelArts.0010"
            raise Refused(int(word), code, "too many requests" if word == "429" else "internal error")
        return False

    def _cut(self) -> None:
        import socket

        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, answer: Any, kind: str = "application/json") -> None:
        text = (
            answer
            if isinstance(answer, str)
            else ""
            if answer is None or status == 204
            else json.dumps(answer)
        )
        data = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("X-Request-Id", f"fake-{time.time_ns():x}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _handle


def _later(handler: Callable[..., Answer], body: Any, query: dict[str, str], values: dict[str, str]) -> None:
    """Carried out after the answer; a request like it may have come in between."""
    with suppress(Refused):
        handler(body, query, **values)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: Service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection."""


class FakeModelArts:
    """A running service."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.service = server.service
        self.cloud = server.service.cloud
        self.faults = server.service.faults
        self.endpoint = f"http://127.0.0.1:{server.server_address[1]}"

    def named(self, name: str) -> list[Job]:
        """Jobs of exactly this name, deleted ones included."""
        return [job for job in [*self.cloud.jobs.values(), *self.cloud.deleted] if job.name == name]


@contextmanager
def fake_modelarts(
    account: Account, root: Path, *, times: Times | None = None, run: bool = True, port: int = 0
) -> Iterator[FakeModelArts]:
    """A service on a free port; its processes are gone when the block ends."""
    server = _Server(("127.0.0.1", port), _Handler)
    server.service = Service(Cloud(account, root, times=times, run=run))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="fake-modelarts", daemon=True)
    thread.start()
    try:
        yield FakeModelArts(server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.service.cloud.close()


def main(argv: list[str] | None = None) -> int:
    """Serves until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="tests.fakes.modelarts", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", nargs="?", type=Path, help="for bucket and containers; default: a new one")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args(argv)
    folder = (args.folder or Path(tempfile.mkdtemp(prefix="fake-modelarts-"))).resolve()
    (folder / "s3" / "bucket").mkdir(parents=True, exist_ok=True)
    with rclone_server(folder / "s3") as s3:
        account = account_of(s3)
        times = Times(creating=1.0, pending=3.0)
        with fake_modelarts(account, folder / "containers", times=times, port=args.port) as fake:
            print(f"# the bucket is {folder}/s3/bucket, containers are in {folder}/containers")
            for key, value in exports(fake, account).items():
                print(f"export {key}={value}")
            print("# Ctrl-C ends it", flush=True)
            ended = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: ended.set())
            ended.wait()
    return 0


def account_of(s3: S3Server, token: str = "") -> Account:
    """As in the cloud, one pair of keys opens the service and the buckets."""
    return Account(
        s3.access_key, s3.secret_key, "demo-project", token, s3.endpoint, s3.access_key, s3.secret_key
    )


def exports(fake: FakeModelArts, account: Account) -> dict[str, str]:
    """What a person, or a test, has in the environment."""
    return {
        "HUAWEICLOUD_SDK_REGION_MODELARTS_CN_NORTH_4": fake.endpoint,
        "HUAWEICLOUD_SDK_AK": account.ak,
        "HUAWEICLOUD_SDK_SK": account.sk,
        "HUAWEICLOUD_SDK_PROJECT_ID": account.project_id,
        **({"HUAWEICLOUD_SDK_SECURITY_TOKEN": account.token} if account.token else {}),
        "AWS_ENDPOINT_URL_S3": account.s3_endpoint,
        "NO_PROXY": "127.0.0.1",
    }


if __name__ == "__main__":
    sys.exit(main())
