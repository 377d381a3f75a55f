"""From files, variables and options to a job: precedence, origins, the recipe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.jobfile.load import JobFileError, LoadedJob, load_job
from launcher.jobfile.overrides import Kind
from vitmodels.config import Recipe

JOBS = Path(__file__).resolve().parents[3] / "jobs"
JOB = "name: a\nmodel: {arch: tnt_digits}\ndata: {url: d}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(
    text: str = JOB, *overrides: str, env: dict[str, str] | None = None, defaults: str = ""
) -> LoadedJob:
    Path("job.yaml").write_text(text, encoding="utf-8")
    Path("defaults.yaml").write_text(defaults, encoding="utf-8")
    return load_job("job.yaml", overrides=overrides, env=env or {}, defaults_file=Path("defaults.yaml"))


def failure(text: str = JOB, *overrides: str, env: dict[str, str] | None = None, defaults: str = "") -> str:
    with pytest.raises(JobFileError) as caught:
        load(text, *overrides, env=env, defaults=defaults)
    return str(caught.value)


# -- precedence and origins


def test_the_stronger_source_wins_and_is_named(folder: Path) -> None:
    path = "resources.nodes"
    text = f"{JOB}resources: {{nodes: 3}}\n"
    env = {"LAUNCHER_SET_RESOURCES__NODES": "4"}
    steps = [
        (load(), 1, Kind.default, ""),
        (load(defaults="resources: {nodes: 2}"), 2, Kind.defaults_file, "defaults.yaml:1"),
        (load(text, defaults="resources: {nodes: 2}"), 3, Kind.file, "job.yaml:4"),
        (load(text, env=env), 4, Kind.env, "LAUNCHER_SET_RESOURCES__NODES"),
        (load(text, "resources.nodes=5", env=env), 5, Kind.set, "--set resources.nodes=5"),
        (load(text, "resources.nodes=5", "resources.nodes=6"), 6, Kind.set, "--set resources.nodes=6"),
    ]
    for job, nodes, kind, detail in steps:
        assert job.spec.resources.nodes == nodes
        assert job.origins[path].kind is kind
        assert job.origins[path].detail == detail


def test_every_value_of_job_and_recipe_has_an_origin(folder: Path) -> None:
    job = load()
    assert job.recipe is not None
    assert {f"recipe.{name}" for name in Recipe.model_fields} <= set(job.origins)
    for name in ("name", "task", "data.timeout", "watch.grace", "local.python", "after.export", "model.arch"):
        assert name in job.origins
    assert job.origins["recipe.arch"].detail == "job.yaml:2"
    assert (
        job.origins["recipe.base_lr"].detail.endswith("tnt_digits.yaml:12")
        or job.origins["recipe.base_lr"].kind is Kind.file
    )
    assert job.origins["recipe.ema"].kind is Kind.default


def test_short_override_means_the_recipe(folder: Path) -> None:
    job = load(JOB, "epochs=7", "lr_init=0.5", env={"LAUNCHER_SET_BATCH_SIZE": "64"})
    assert job.recipe is not None
    assert (job.recipe.epochs, job.recipe.base_lr, job.recipe.batch_size) == (7, 0.5, 64)
    assert (
        job.recipe.optimizer == "adamw"
    )  # an override of lr_init does not bring the README's other defaults
    assert job.origins["recipe.base_lr"].detail == "--set lr_init=0.5"
    assert job.spec.model.set == {"epochs": 7, "lr_init": 0.5, "batch_size": 64}


def test_a_key_of_the_job_file_is_never_taken_for_a_recipe_key(folder: Path) -> None:
    job = load(JOB, "name=b")  # `name` is also the vit_base README's name for the data set
    assert job.spec.name == "b"
    assert job.recipe is not None and job.recipe.set != "b"


def test_env_names_in_free_mappings_keep_their_case(folder: Path) -> None:
    job = load(env={"LAUNCHER_SET_ENV__HCCL_BUFFSIZE": "'200'"})
    assert job.spec.env == {"HCCL_BUFFSIZE": "200"}


def test_an_empty_defaults_file_is_fine_and_a_wrong_one_is_named(folder: Path) -> None:
    assert load(defaults="# nothing\n").spec.name == "a"
    assert failure(defaults="- a\n").startswith("defaults.yaml:1:1: ")
    assert failure(defaults="resources: {nodes: x}\n").startswith("defaults.yaml:1:20: resources.nodes: ")


def test_the_defaults_file_of_launcher_home_is_read(folder: Path) -> None:
    (folder / "home").mkdir()
    (folder / "home" / "defaults.yaml").write_text("output: {url: elsewhere}\n", encoding="utf-8")
    Path("job.yaml").write_text(JOB, encoding="utf-8")
    assert load_job("job.yaml", env={"LAUNCHER_HOME": str(folder / "home")}).spec.output.url == "elsewhere"


# -- values


def test_empty_sections_are_empty_and_not_wrong(folder: Path) -> None:
    job = load("name: a\nmodel:\n  arch: tnt_digits\n  set:\ndata: {url: d}\nresources:\nenv:\nretry:\n")
    assert job.spec.resources.nodes == 1
    assert job.spec.env == {}


def test_yaml_traps(folder: Path) -> None:
    text = "name: no\nmodel:\n  arch: tnt_digits\n  set: {base_lr: 1e-3, epochs: 010}\ndata: {url: d}\nresources: {time_limit: 12:30:00}\n"
    job = load(text)
    assert job.spec.name == "no"
    assert job.spec.resources.time_limit == 12 * 3600 + 30 * 60
    assert job.recipe is not None
    assert (job.recipe.base_lr, job.recipe.epochs) == (0.001, 10)


def test_lists_and_tuples(folder: Path) -> None:
    job = load(f"{JOB}after: {{export: [ONNX, MINDIR]}}\nenv: {{A: b}}\n", "beta=[0.8, 0.9]")
    assert job.spec.after.export == ("ONNX", "MINDIR")
    assert job.recipe is not None and job.recipe.beta == (0.8, 0.9)


def test_all_problems_of_all_sources_come_at_once(folder: Path) -> None:
    text = failure(
        f"{JOB}resources: {{nodes: x}}\nfoo: 1\n", "after.eval=maybe", env={"LAUNCHER_SET_EPOCHS": "ten"}
    )
    assert text.count(": unknown key") == 1
    for name in (
        "job.yaml:4:20: resources.nodes",
        "--set after.eval=maybe",
        "LAUNCHER_SET_EPOCHS: model.set.epochs",
    ):
        assert name in text
    assert text.endswith("4 problems")


def test_a_rule_over_values_skips_a_value_that_is_wrong_itself(folder: Path) -> None:
    text = failure("name: a\ntask: eval\nmodel: {arch: tnt_digits, checkpoint: 3}\ndata: {url: d}\n")
    assert text.count("checkpoint") == 2  # path and source line of one problem
    assert "must be even" in failure(JOB, "mix_up=0.8", "batch_size=31")
    assert "must be even" not in failure(JOB, "mix_up=lots", "batch_size=31")


def test_json_for_tools(folder: Path) -> None:
    with pytest.raises(JobFileError) as caught:
        load(f"{JOB}resources: {{nodes: two}}\n")
    problem = {
        "file": "job.yaml",
        "line": 4,
        "column": 20,
        "path": "resources.nodes",
        "message": "expected a whole number from 1 to 1024, found 'two'",
        "hint": "write the number in digits",
        "source_line": "resources: {nodes: two}",
        "related": None,
    }
    assert caught.value.to_json() == {"ok": False, "problems": [problem]}


# -- files


def test_missing_file_and_its_neighbour(folder: Path) -> None:
    Path("digits.yaml").write_text(JOB, encoding="utf-8")
    with pytest.raises(JobFileError, match="there is no such file") as caught:
        load_job("digit.yaml", env={})
    assert caught.value.problems[0].hint == "did you mean digits.yaml?"
    with pytest.raises(JobFileError, match="folder"):
        load_job(folder, env={})
    with pytest.raises(JobFileError, match="can't be read"):
        load_job("a\0b", env={})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(folder: Path) -> None:
    Path("job.yaml").write_text(JOB, encoding="utf-8")
    Path("job.yaml").chmod(0)
    with pytest.raises(JobFileError, match="can't be read"):
        load_job("job.yaml", env={})


# -- the recipe


def test_recipe_is_looked_for_here_then_beside_the_job_then_among_the_installed(folder: Path) -> None:
    text = "name: a\nmodel: {config: tnt_digits.yaml}\ndata: {url: d}\n"
    (folder / "jobs").mkdir()
    (folder / "jobs" / "job.yaml").write_text(text, encoding="utf-8")

    def epochs() -> int:
        recipe = load_job("jobs/job.yaml", env={}, defaults_file=Path("none")).recipe
        assert recipe is not None
        return recipe.epochs

    installed = epochs()
    (folder / "jobs" / "tnt_digits.yaml").write_text("arch: tnt_digits\nepochs: 101\n", encoding="utf-8")
    assert epochs() == 101 != installed
    (folder / "tnt_digits.yaml").write_text("arch: tnt_digits\nepochs: 102\n", encoding="utf-8")
    assert epochs() == 102


@pytest.mark.parametrize("config", ["tnt_digits", "tnt_digits.yaml", "vitmodels/configs/tnt_digits.yaml"])
def test_installed_recipes_go_by_several_names(folder: Path, config: str) -> None:
    job = load(f"name: a\nmodel: {{config: {config}}}\ndata: {{url: d}}\n")
    assert job.recipe is not None and job.recipe.num_classes == 10


def test_arch_alone_brings_its_recipe(folder: Path) -> None:
    by_arch, by_config = load(), load("name: a\nmodel: {config: tnt_digits}\ndata: {url: d}\n")
    assert by_arch.recipe == by_config.recipe


def test_arch_without_a_recipe_has_the_defaults(folder: Path) -> None:
    job = load("name: a\nmodel: {arch: ViT-Ti/16}\ndata: {url: d}\n")
    assert job.recipe == Recipe(arch="vit_tiny_patch16_224")


def test_arch_of_the_job_beats_the_recipe_file_and_says_so(folder: Path) -> None:
    job = load("name: a\nmodel: {arch: tnt_b_patch16_224, config: tnt_s_patch16_224}\ndata: {url: d}\n")
    assert job.recipe is not None and job.recipe.arch == "tnt_b_patch16_224"
    assert any("replaces tnt_s_patch16_224" in note for note in job.notes)
    assert not load("name: a\nmodel: {arch: tnt_s, config: tnt_s_patch16_224}\ndata: {url: d}\n").notes


def test_the_vit_base_recipe_is_read_with_its_own_names(folder: Path) -> None:
    job = load("name: a\nmodel: {config: vit_base_patch16_224, set: {lr_init: 0.18}}\ndata: {url: d}\n")
    assert job.recipe is not None
    assert (job.recipe.base_lr, job.recipe.lr_scale, job.recipe.optimizer) == (0.18, "none", "momentum")
    assert job.origins["recipe.base_lr"].detail == "job.yaml:2"
    assert sum("lr_init" in note for note in job.notes) == 1


def test_own_program_has_settings_and_no_recipe(folder: Path) -> None:
    Path("mine.yaml").write_text("depth: 3\nwidth: [1, 2]\n", encoding="utf-8")
    text = "name: a\nprogram: [python, t.py]\nmodel: {config: mine.yaml, set: {depth: 4, anything: x}}\n"
    job = load(text)
    assert job.recipe is None
    assert job.recipe_values == {"depth": 4, "width": [1, 2], "anything": "x"}
    assert job.origins["recipe.width"].detail == "mine.yaml:2"


def test_recipe_values_can_be_written_and_read_again(folder: Path) -> None:
    job = load()
    assert Recipe(**job.recipe_values) == job.recipe


def test_source_text_is_the_file(folder: Path) -> None:
    assert load("\ufeff" + JOB).source_text == JOB


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_jobs_of_this_project_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(JOBS.parent)
    job = load_job(path, env={}, defaults_file=Path("none"))
    assert (job.recipe is None) == (job.spec.program is not None)
