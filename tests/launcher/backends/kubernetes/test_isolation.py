"""The stand-in itself: a pod has a root, a network, a host name and process numbers of its own, and nothing of who submitted."""

import json
import socket
from pathlib import Path

import pytest

from launcher.runfolder.states import State
from launcher.runs.index import Index
from launcher.submission.launch import submit
from launcher.submission.prepare import prepare
from tests.fakes.kubernetes_cluster import FakeCluster
from tests.fakes.kubernetes_network import why_not
from tests.launcher.backends.kubernetes.flows import ROOT, ended, job

PROGRAM = """
import json, os, pathlib, socket
shm = os.statvfs("/dev/shm")
found = {
    "name": socket.gethostname(),
    "address": socket.gethostbyname(socket.gethostname()),
    "pod": [os.environ["POD_NAME"], os.environ["POD_IP"]],
    "interfaces": sorted(os.listdir("/proc/self/net/dev_snmp6")),
    "shm": shm.f_frsize * shm.f_blocks,
    "files": {path: os.path.exists(path) for path in json.loads(os.environ["OUTSIDE"])},
    "listens": socket.socket().connect_ex(("127.0.0.1", int(os.environ["PORT"]))) == 0,
    "first": pathlib.Path("/proc/1/cmdline").read_text().split("\\0")[3:4],
}
pathlib.Path(f"found-{socket.gethostname()}.json").write_text(json.dumps(found))
"""


@pytest.mark.skipif(bool(why_not()), reason=f"NOT TESTED: pods are processes of this machine: {why_not()}")
def test_a_pod_sees_nothing_of_the_machine_but_its_volumes(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, secret = tmp_path / "mine", tmp_path / "other" / "secret"
    for place in (mine, secret.parent):
        place.mkdir()
    secret.touch()
    (mine / "look.py").write_text(PROGRAM)
    monkeypatch.chdir(mine)
    outside = [str(ROOT / "README.md"), str(Path.home() / ".cache"), str(Path.home() / ".ssh"), str(secret)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {"OUTSIDE": json.dumps(outside), "PORT": str(listener.getsockname()[1])}
        sections = {"program": ["python", "look.py"], "options": {"memory": "64MiB"}}
        path = job(mine, cluster, 2, env=env, **sections)
        entry = submit(prepare(path), Index())
        found = ended(entry)
    assert found.state is State.SUCCEEDED, found.reason
    store = entry.store.open()
    keys = {info.key.rpartition("/")[2]: info.key for info in store.list("work/") if "/found-" in info.key}
    pods = [json.loads(store.read(key)) for key in keys.values()]
    assert len({pod["address"] for pod in pods}) == len(pods) == 2
    for pod in pods:
        assert [pod["name"], pod["address"]] == pod["pod"]
        assert pod["interfaces"] == ["eth0", "lo"]
        assert pod["shm"] == 64 << 20
        assert pod["files"] == dict.fromkeys(outside, False)
        assert not pod["listens"]
        assert pod["first"] == ["launcher.node"]
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if str(tmp_path) in line]
    assert not [name for _, name in socket.if_nameindex() if name.startswith("v10") or name == "br0"]
