"""Which node a pod is. The rank table decides, and an order that is crossed is an error before any rank starts."""

import json
import re
import threading
from pathlib import Path

import pytest

from launcher.backends.kubernetes.place import Pod, node_of
from launcher.errors import PlanError
from tests.launcher.backends.kubernetes.jobs import make
from tests.waiting import PATIENCE_S, wait_until

UIDS = ("0c0e5b5a-0000-4000-8000-00000000000a", "0c0e5b5a-0000-4000-8000-00000000000b")


def table(
    path: Path, order: tuple[int, ...] = (0, 1), *, uid: bool = True, status: str = "completed"
) -> Path:
    """Two pods of two devices, as MindCluster's operator writes them; `order[k]` is the pod that has the k-th ranks."""
    servers = [
        {
            "device": [
                {"device_id": str(d), "device_ip": f"10.1.{pod}.{d}", "rank_id": str(2 * place + d)}
                for d in (0, 1)
            ],
            "server_id": UIDS[pod] if uid else f"192.0.2.{pod}",
            "host_ip": f"192.0.2.{pod}",
            "container_ip": f"10.0.0.{pod}",
        }
        for place, pod in enumerate(order)
    ]
    path.write_text(
        json.dumps({"status": status, "server_list": servers, "server_count": "2", "version": "1.0"})
    )
    return path


def pod(path: Path | None, number: int, **env: str) -> Pod:
    named = {"RANK_TABLE_FILE": str(path)} if path else {}
    own = {"POD_NAME": f"job-worker-{number}", "POD_UID": UIDS[number], "POD_IP": f"10.0.0.{number}"}
    return Pod.of({**own, "XDL_IP": f"192.0.2.{number}", **named, **env})


def where(pod: Pod, folder: Path) -> int:
    return node_of(pod, make(folder), lambda words: None, timeout_s=PATIENCE_S)


def test_the_table_decides_and_not_the_index_of_the_task(tmp_path: Path) -> None:
    crossed = table(tmp_path / "hccl.json", (1, 0))
    assert where(pod(crossed, 0, VC_TASK_INDEX="0"), tmp_path) == 1
    assert where(pod(crossed, 1, VC_TASK_INDEX="1"), tmp_path) == 0


def test_an_order_that_is_crossed_is_an_error_before_hccl(tmp_path: Path) -> None:
    crossed = table(tmp_path / "hccl.json", (1, 0))
    with pytest.raises(PlanError, match="order of ranks is crossed") as error:
        where(pod(crossed, 0, LAUNCHER_RANK_INDEX="0"), tmp_path)
    assert "job-worker-0" in error.value.what
    assert "cancel" in error.value.hint.lower()
    assert where(pod(crossed, 0, LAUNCHER_RANK_INDEX="1"), tmp_path) == 1


@pytest.mark.parametrize("uid", [True, False])
def test_the_own_entry_is_found_by_uid_or_by_an_address(uid: bool, tmp_path: Path) -> None:
    path = table(tmp_path / "hccl.json", uid=uid)
    assert where(pod(path, 1), tmp_path) == 1
    assert where(pod(path, 1, POD_IP=""), tmp_path) == 1
    assert where(pod(path, 1, POD_UID="other", XDL_IP=""), tmp_path) == 1


def test_a_table_without_the_pod_names_what_it_has(tmp_path: Path) -> None:
    path = table(tmp_path / "hccl.json")
    with pytest.raises(PlanError, match="no entry of its own") as error:
        where(pod(path, 1, POD_UID="new", POD_IP="10.0.0.9", XDL_IP=""), tmp_path)
    assert UIDS[0] in error.value.hint


def test_a_host_with_two_pods_is_not_taken_for_either(tmp_path: Path) -> None:
    path = table(tmp_path / "hccl.json", uid=True)
    path.write_text(re.sub(r"192\.0\.2\.[01]", "192.0.2.7", path.read_text()))
    with pytest.raises(PlanError, match="no entry of its own"):
        where(pod(path, 1, POD_UID="new", POD_IP="10.0.0.9", XDL_IP="192.0.2.7"), tmp_path)


@pytest.mark.system
def test_initializing_is_awaited_with_words(tmp_path: Path) -> None:
    path, heard, found = tmp_path / "hccl.json", [], []
    path.write_text('{"status":"initializing"}')
    plan, me = make(tmp_path), pod(path, 1)
    waiting = threading.Thread(target=lambda: found.append(node_of(me, plan, heard.append)))
    waiting.start()
    wait_until(lambda: heard, "words on the wait")
    table(path.with_suffix(".new")).replace(path)
    waiting.join()
    assert found == [1]
    assert "initializing" in heard[0]


def test_without_a_table_the_annotation_comes_first_then_the_index(tmp_path: Path) -> None:
    assert where(pod(None, 0, LAUNCHER_RANK_INDEX="1", VC_TASK_INDEX="0"), tmp_path) == 1
    assert where(pod(None, 0, VC_TASK_INDEX="1"), tmp_path) == 1
    assert where(pod(None, 0, JOB_COMPLETION_INDEX="1"), tmp_path) == 1
    assert where(pod(None, 0, LAUNCHER_RANK_INDEX=""), tmp_path) == 0


def test_a_pod_too_many_and_a_number_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="machine 2, the job has 2"):
        where(pod(None, 0, VC_TASK_INDEX="2"), tmp_path)
    with pytest.raises(PlanError, match="VC_TASK_INDEX='x'"):
        pod(None, 0, VC_TASK_INDEX="x")
