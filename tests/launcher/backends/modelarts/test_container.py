"""What happens in a container before the node program: environment, code, attempts over restarts, moxing."""

import json
import os
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from launcher.backends.agree import Start, agree, ended_before, mark_job, outdated, unmark_job
from launcher.backends.modelarts.code import make_archive, upload_archive
from launcher.backends.modelarts.container import placed, prepare, read_plan
from launcher.backends.modelarts.container_env import Container, moxing_words, obs_client, which_moxing
from launcher.backends.modelarts.machines import CONTAINER_HOME
from launcher.backends.modelarts.request import code_url
from launcher.errors import IntegrityError, PlanError, RunFailed
from launcher.storage import ObjectStore, open_store
from tests.launcher.backends.modelarts.jobs import IMAGE, make
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.system


@pytest.fixture
def run_store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "run"))


# ---- environment


def test_the_environment_of_a_custom_image() -> None:
    found = Container.of(
        {
            "VC_TASK_INDEX": "1",
            "MA_NUM_HOSTS": "2",
            "VC_WORKER_HOSTS": "job-worker-0.job, job-worker-1.job",
            "MA_CURRENT_INSTANCE_NAME": "job-worker-1",
            "RANK_TABLE_FILE": "/user/config",
            "MA_SCHEDULE_CNT": "2",
            "MA_PROC_START_CNT": "3",
        }
    )
    assert (found.node, found.nodes, found.pod, found.starts, found.rank) == (1, 2, "job-worker-1", 4, None)
    assert found.hosts == ("job-worker-0.job", "job-worker-1.job")
    assert found.rank_table == Path("/user/config")


def test_one_machine_says_little_and_a_preset_engine_says_the_rank() -> None:
    assert (Container.of({}).node, Container.of({}).nodes, Container.of({}).starts) == (0, 1, 1)
    assert Container.of({"VC_WORKER_HOSTS": "a,b,c"}).nodes == 3
    assert Container.of({"RANK_ID": "5", "ASCEND_DEVICE_ID": "5"}).rank == 5


def test_what_the_platform_gets_wrong_is_named() -> None:
    with pytest.raises(PlanError, match="VC_TASK_INDEX='one'"):
        Container.of({"VC_TASK_INDEX": "one"})
    with pytest.raises(PlanError, match="machine 0 of 2, the job has 4"):
        Container.of({"MA_NUM_HOSTS": "2"}).check(4)


# ---- moxing


def package(folder: Path, *files: str) -> None:
    for name in files:
        path = folder / "moxing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise SystemExit('must not be imported')\n")


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        ((), "none", "no moxing"),
        (("__init__.py", "file/__init__.py"), "platform", "of the platform"),
        (("__init__.py", "models.py"), "foreign", "is not Huawei's"),
    ],
)
def test_the_real_moxing_is_recognised_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], kind: str, words: str
) -> None:
    package(tmp_path, *files)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "moxing", raising=False)
    assert which_moxing() == kind
    assert words in moxing_words()
    assert obs_client("auto", {}) == ("moxing" if kind == "platform" else "boto3")
    assert obs_client("auto", {"ACCESS_KEY_ID": "x"}) == "boto3"
    assert obs_client("moxing", {}) == "moxing"


# ---- the code


def test_the_same_code_gives_the_same_digest_and_hidden_files_stay_here(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "train.py").write_text("print(1)")
    (own / ".env").write_text("SECRET=1")
    plan = make(tmp_path, modelarts={**IMAGE, "code": ["mine"]})
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first = make_archive(plan, folders[0])
    os.utime(own / "train.py", (1, 1))
    assert make_archive(plan, folders[1]).digest == first.digest
    names = set(zipfile.ZipFile(first.path).namelist())
    assert {"launcher/node/program.py", "vitmodels/config.py", "code/mine/train.py"} <= names
    assert not [name for name in names if "/." in name or name.endswith(".pyc")]
    (own / "train.py").write_text("print(2)")
    assert make_archive(plan, folders[1]).digest != first.digest


def test_code_is_uploaded_once_per_content_and_again_when_half_of_it_is_missing(tmp_path: Path) -> None:
    plan = make(tmp_path)
    local = plan.store.model_copy(update={"url": (tmp_path / "runs" / plan.run_id).as_uri()})
    plan = plan.model_copy(update={"store": local})
    snapshot = make_archive(plan, tmp_path)
    assert [upload_archive(plan, snapshot), upload_archive(plan, snapshot)] == [True, False]
    store = plan.store.model_copy(update={"url": code_url(plan, snapshot.digest)}).open()
    store.delete("boot.py")
    assert upload_archive(plan, snapshot) is True


# ---- the plan


def test_the_plan_takes_the_folders_of_the_container(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "src" / "train.py").write_text("")
    plan = make(
        tmp_path / "here", program=["python", "../src/train.py"], modelarts={**IMAGE, "code": ["../src"]}
    )
    moved = placed(plan, tmp_path / "disk", tmp_path / "unpacked")
    assert CONTAINER_HOME not in moved.model_dump_json()
    assert moved.run_dir.root == tmp_path / "disk" / "work" / plan.run_id
    assert moved.env["LAUNCHER_RUN_DIR"] == str(moved.run_dir.root)
    assert moved.steps[0].argv == ("python", str(tmp_path / "unpacked" / "code" / "src" / "train.py"))
    assert moved.store == plan.store


def test_a_plan_that_was_changed_is_refused(tmp_path: Path) -> None:
    data = make(tmp_path).model_dump_json().encode()
    assert read_plan(data, "").name == "tnt"
    with pytest.raises(IntegrityError, match="the job was made for"):
        read_plan(data + b" ", "0" * 64)


# ---- attempts over restarts


def start_all(store: ObjectStore, nodes: int, attempt: int = 1, timeout_s: float = PATIENCE_S) -> list[Start]:
    found: dict[int, Start] = {}

    def one(node: int) -> None:
        found[node] = agree(store, node, nodes, attempt, timeout_s=timeout_s, sleep=lambda s: None)

    threads = [threading.Thread(target=one, args=(node,)) for node in reversed(range(nodes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[node] for node in range(nodes)]


def test_all_machines_of_a_start_agree_and_the_next_start_is_another_attempt(run_store: ObjectStore) -> None:
    first = start_all(run_store, 3)
    assert len(set(first)) == 1
    assert first[0].attempt == 1
    again = start_all(run_store, 3)  # nothing had begun
    assert again[0].attempt == 1
    assert again[0].launch != first[0].launch
    run_store.put("attempts/1", b"")
    run_store.put("attempts/2", b"")  # the run had restarted its ranks by itself
    third = start_all(run_store, 3)
    assert len(set(third)) == 1
    assert third[0].attempt == 3
    assert start_all(run_store, 3, attempt=7)[0].attempt == 7  # a resume


def test_a_machine_that_does_not_come_is_named(run_store: ObjectStore) -> None:
    start_all(run_store, 2)  # leaves its marks
    with pytest.raises(RunFailed, match="node 1 of 2 did not come"):
        agree(run_store, 0, 2, 1, timeout_s=0.3)
    with pytest.raises(RunFailed, match="node 0 did not come"):
        agree(run_store, 1, 2, 1, timeout_s=0.3)


def test_a_job_of_an_earlier_attempt_and_a_run_that_has_ended_go_no_further(
    tmp_path: Path, run_store: ObjectStore
) -> None:
    mark_job(run_store, 1)
    assert not outdated(run_store, 1)
    first, second = mark_job(run_store, 2), mark_job(run_store, 2)
    assert outdated(run_store, 1)
    unmark_job(run_store, second)
    assert outdated(run_store, 1), "another machine made the job of this attempt"
    unmark_job(run_store, first)
    assert not outdated(run_store, 1)
    assert ended_before(run_store, 1) is None
    state = {
        "run_id": "r",
        "name": "r",
        "backend": "modelarts",
        "submitted_at": 0,
        "updated_at": 0,
        "url": "x",
    }
    run_store.put("state.json", json.dumps({**state, "state": "CANCELLED", "attempt": 1}).encode())
    assert ended_before(run_store, 1) == "CANCELLED"
    assert ended_before(run_store, 2) is None
    run_store.put("state.json", json.dumps({**state, "state": "FAILED", "attempt": 1}).encode())
    assert ended_before(run_store, 1) is None


def test_a_preset_process_takes_its_own_rank(tmp_path: Path) -> None:
    """Two cards on one machine: two processes, which agree as two machines would."""
    import argparse

    plan = make(tmp_path, resources={"nodes": 1, "devices_per_node": 2})
    run = tmp_path / "runs" / plan.run_id
    local = plan.store.model_copy(update={"url": run.as_uri()})
    plan = plan.model_copy(update={"store": local})
    run.mkdir(parents=True)
    (run / "plan.json").write_text(plan.model_dump_json())
    args = argparse.Namespace(
        run=str(run), attempt=1, code=str(tmp_path), plan="", endpoint=None, region=None
    )
    commands = {}

    def one(card: int) -> None:
        env = {"RANK_ID": str(card), "RANK_SIZE": "2", "ASCEND_DEVICE_ID": str(card)}
        commands[card] = prepare(args, {**env, "MA_MOUNT_PATH": str(tmp_path / "mount")})

    threads = [threading.Thread(target=one, args=(card,)) for card in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {command.launch for command in commands.values() if command} == {commands[0].launch}  # type: ignore[union-attr]
    assert commands[1].argv[-4:] == ["--node", "0", "--attempt", "1"]  # type: ignore[union-attr]
