"""`launcher check` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import main
from launcher.storage import open_store
from launcher.submission.preflight import check_world
from launcher.submission.prepare import prepare
from tests.servers.s3 import S3Server
from tests.servers.stores import open_on

JOB = "name: a\nmodel: {arch: tnt_digits}\ndata: {url: d, train_images: 1437}\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAUNCHER_HOME", str(tmp_path / "home"))
    for part in ("train", "val"):
        (Path("d") / part / "one").mkdir(parents=True)
        (Path("d") / part / "one" / "a.jpg").touch()
    Path("good.yaml").write_text(JOB, encoding="utf-8")
    Path("bad.yaml").write_text(f"{JOB}resources: {{nodes: two}}\n", encoding="utf-8")
    Path("three.yaml").write_text(
        f"{JOB}resources: {{device: ascend910, devices_per_node: 3}}\n", encoding="utf-8"
    )


def test_a_right_file_gets_its_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good.yaml", "--set", "batch_size=30", "--set", "epochs=2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("good.yaml: ok\n")
    assert "2 epochs × 47 steps = 94 steps" in out
    assert "254,378 parameters" in out


def test_a_wrong_file_gets_its_problems_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good.yaml", "bad.yaml"]) == 2
    out = capsys.readouterr().out
    assert "good.yaml: ok" in out
    assert "bad.yaml:4:20: resources.nodes: expected a whole number from 1 to 1024, found 'two'" in out


def test_what_devices_do_not_allow_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "three.yaml"]) == 2
    out = capsys.readouterr().out
    assert out.startswith("three.yaml: cannot run")
    assert "RT007" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good.yaml", "bad.yaml", "three.yaml", "--json"]) == 2
    good, bad, three = json.loads(capsys.readouterr().out)["files"]
    assert good["ok"] and good["arithmetic"]["global_batch"] == 32 and good["problems"] == []
    assert not bad["ok"]
    assert [(p["line"], p["column"], p["path"]) for p in bad["problems"]] == [(4, 20, "resources.nodes")]
    assert not three["ok"] and [f["rule"] for f in three["findings"]] == ["RT007"]


def test_every_value_can_be_traced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHER_SET_BATCH_SIZE", "16")
    assert main(["check", "good.yaml", "--set", "epochs=2", "--origins"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert 'data.url = "d" ← good.yaml:3' in lines
    assert "recipe.epochs = 2 ← --set epochs=2" in lines
    assert "recipe.batch_size = 16 ← LAUNCHER_SET_BATCH_SIZE" in lines
    assert "resources.nodes = 1 ← default" in lines
    assert main(["check", "good.yaml", "--set", "epochs=2", "--json"]) == 0
    values = {v["path"]: v for v in json.loads(capsys.readouterr().out)["files"][0]["values"]}
    assert values["recipe.epochs"] == {
        "path": "recipe.epochs",
        "value": 2,
        "origin": "set",
        "detail": "--set epochs=2",
    }
    assert values["recipe.ema"]["origin"] == "default" and values["recipe.ema"]["detail"] is None


def test_missing_file_is_a_problem_of_that_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nowhere.yaml"]) == 2
    assert capsys.readouterr().out.startswith("nowhere.yaml: there is no such file")


def test_it_changes_nothing(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    main(["check", "good.yaml", "bad.yaml"])
    assert sorted(tmp_path.rglob("*")) == before


def test_it_imports_no_framework() -> None:
    code = (
        "import sys; from launcher.cli import main; code = main(['check', 'good.yaml'])\n"
        "assert not {'mindspore', 'numpy', 'boto3', 'rich'} & set(sys.modules), sorted(sys.modules)\n"
        "sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_a_local_folder_lacks_is_found_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("far.yaml").write_text(JOB.replace("url: d", "url: nowhere"), encoding="utf-8")
    Path("other.yaml").write_text(JOB.replace("url: d", "url: flat"), encoding="utf-8")
    Path("flat").mkdir()
    Path("flat/a.jpg").touch()
    Path("two.yaml").write_text(f"{JOB}resources: {{nodes: 2}}\n", encoding="utf-8")
    for name, rule in (("far.yaml", "PF030"), ("other.yaml", "PF031"), ("two.yaml", "LO001")):
        assert main(["check", name]) == 2
        assert f"error {rule} " in capsys.readouterr().out
        assert main(["submit", name, "--dry-run"]) == 2


LAYOUT = "put the images there (train/<class>/ and val/<class>/), or correct the path"


@pytest.mark.parametrize(
    ("url", "arch", "says"),
    [
        ("data/imagenet", "tnt_digits", ("data/imagenet: there is no such folder", LAYOUT)),
        ("empty", "tnt_digits", ("empty: the folder is empty", LAYOUT)),
        ("demo/digit", "tnt_digits", ("demo/digit: there is no such folder", "did you mean demo/digits?")),
        ("demi/digits", "tnt_digits", ("demi/digits: there is no such folder", "did you mean demo/digits?")),
        ("my-digits", "tnt_digits", ("no such folder", "python -m vitmodels.digits my-digits")),
        ("my-digits", "tnt_s_patch16_224", ("no such folder", LAYOUT)),
        ("sets/a", "tnt_digits", ("no such folder", "write below/sets/a")),
    ],
)
def test_a_data_folder_that_holds_nothing(
    url: str, arch: str, says: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for each in ("empty", "demo/digits/train/0", "below/sets/a/train/0"):
        Path(each).mkdir(parents=True)
    job = {"name": "a", "model": {"arch": arch}, "data": {"url": url}, "output": {"url": "runs"}}
    Path("below/job.yaml").write_text(json.dumps(job), encoding="utf-8")
    assert main(["check", "below/job.yaml"]) == 2
    out = capsys.readouterr().out
    assert all(each in out for each in says)
    assert ("vitmodels.digits" in out) == ("vitmodels.digits" in says[1])


def test_weights_to_start_from_are_looked_for_beside_the_job() -> None:
    Path("tuned.yaml").write_text(JOB, encoding="utf-8")
    job = prepare(Path("tuned.yaml"), overrides=["pretrained=weights/w.npz"])
    found = {each.rule: each.message for each in check_world(job.plan)}
    assert found.get("PF022") == f"{Path.cwd()}/weights/w.npz does not exist"
    Path("weights").mkdir()
    Path("weights/w.npz").touch()
    assert "PF022" not in {each.rule for each in check_world(job.plan)}
    other = prepare(Path("tuned.yaml"), overrides=["pretrained=/w.npz"])
    assert other.plan.recipe["pretrained"] == "/w.npz"
    home = prepare(Path("tuned.yaml"), overrides=["pretrained=~/w.npz"])
    assert home.plan.recipe["pretrained"] == str(Path.home() / "w.npz")


@pytest.mark.parametrize("backend", ["kubernetes", "modelarts"])
def test_containers_have_no_weights_that_lie_beside_the_job(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("w.npz").touch()
    text = f"{JOB}resources: {{backend: {backend}}}\noutput: {{url: s3://bucket/runs}}\n"
    Path("far.yaml").write_text(text.replace("url: d", "url: s3://bucket/d"), encoding="utf-8")
    for path, refused in (("w.npz", True), ("/mnt/w.npz", False)):
        main(["check", "far.yaml", "--set", f"pretrained={path}"])
        assert ("error PF018 model.set.pretrained: w.npz is relative" in capsys.readouterr().out) is refused


@pytest.mark.parametrize("kind", ["radosgw", "file"])
@pytest.mark.parametrize("there", ["team", "team/runs"])
def test_an_object_where_a_folder_of_results_belongs(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    there: str,
) -> None:
    """A bucket takes both, so that nobody would notice until the results are fetched; a disk would fail late."""
    if kind == "radosgw":
        server: S3Server = request.getfixturevalue(kind)
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        store = open_on(server)
    else:
        store = open_store(Path("disk").absolute().as_uri())
    store.put(there, b"an object")
    words = f"{store.join(there).removeprefix('file://')}: this is {'an object' if kind == 'radosgw' else 'a file'}"
    for command, code in ((["check", "--ask"], 2), (["submit"], 4)):
        assert main([*command, "good.yaml", "--set", f"output.url={store.join('team/runs')}"]) == code
        shown = capsys.readouterr()
        assert words in shown.out + shown.err
    assert [info.key for info in store.list()] == [there]
    assert not Path("home/runs").exists()


@pytest.mark.parametrize("field", ["output.work_dir", "data.cache_dir"])
@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_where_a_folder_of_this_machine_belongs(
    capsys: pytest.CaptureFixture[str], field: str, name: str
) -> None:
    Path("file").touch()
    assert main(["submit", "good.yaml", "--set", f"{field}={Path.cwd()}/{name}"]) == 2
    assert f" {field}: {Path.cwd()}/file is a file, and would be a folder, too" in capsys.readouterr().err


def test_local_images_are_counted_so_that_the_steps_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(69):
        Path(f"d/train/one/{index}.jpg").touch()
    Path("d/train/one/notes.txt").touch()
    Path("count.yaml").write_text(JOB.replace(", train_images: 1437", ""), encoding="utf-8")
    assert main(["check", "count.yaml", "--set", "batch_size=7", "--set", "epochs=3"]) == 0
    assert "3 epochs × 10 steps = 30 steps" in capsys.readouterr().out  # 70 images, one was there
    assert main(["check", "count.yaml", "--set", "batch_size=71"]) == 2
    assert "70 training images don't fill one global batch of 71" in capsys.readouterr().out
