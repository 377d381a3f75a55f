"""The recipe: the two READMEs load unmodified, mistakes are named, numbers stay numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitmodels.config import Recipe, scaled_lr, steps_per_epoch
from vitmodels.document.problem import Place
from vitmodels.document.tree import Mapping, node_of
from vitmodels.errors import RecipeError
from vitmodels.recipe_file import load_recipe, make_recipe
from vitmodels.recipe_keys import note_texts, translate

CONFIGS = Path(__file__).parents[2] / "vitmodels" / "configs"


def test_the_tnt_recipe_has_the_documented_values() -> None:
    recipe = load_recipe(CONFIGS / "tnt_s_patch16_224.yaml")
    wanted = {
        "arch": "tnt_s_patch16_224",
        "num_classes": 1000,
        "mix_up": 0.8,
        "cutmix": 1.0,
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "interpolation": "bicubic",
        "re_prob": 0.25,
        "re_mode": "pixel",
        "re_count": 1,
        "mixup_prob": 1.0,
        "switch_prob": 0.5,
        "mixup_mode": "batch",
        "optimizer": "adamw",
        "base_lr": 5e-4,
        "warmup_lr": 7e-8,
        "min_lr": 6e-6,
        "lr_scheduler": "cosine_lr",
        "warmup_length": 20,
        "image_size": 224,
        "amp_level": "O2",
        "beta": (0.9, 0.999),
        "clip_global_norm_value": 5.0,
        "is_dynamic_loss_scale": True,
        "epochs": 300,
        "label_smoothing": 0.1,
        "weight_decay": 0.05,
        "momentum": 0.9,
        "batch_size": 128,
        "num_parallel_workers": 16,
        "device_target": "Ascend",
    }
    assert {key: getattr(recipe, key) for key in wanted} == wanted
    assert scaled_lr(recipe, 8) == pytest.approx(1e-3)  # 5e-4 for each 512 images


def test_the_vit_base_recipe_has_the_documented_values() -> None:
    recipe = load_recipe(CONFIGS / "vit_base_patch16_224.yaml")
    assert (recipe.arch, recipe.optimizer, recipe.momentum) == ("vit_base_patch16_224", "momentum", 0.9)
    assert (recipe.base_lr, recipe.epochs, recipe.batch_size) == (0.02, 160, 128)
    assert (recipe.weight_decay, recipe.keep_checkpoint_max, recipe.side) == (1e-4, 30, 224)
    assert recipe.pretrained == ""
    assert not recipe.mixes
    assert recipe.auto_augment == ""
    assert scaled_lr(recipe, 8) == 0.02
    eight = load_recipe(CONFIGS / "vit_base_patch16_224.yaml", ["lr_init=0.18"])
    assert scaled_lr(eight, 8) == 0.18


def test_the_readme_dictionary_in_python_form_gives_the_same_recipe(tmp_path: Path) -> None:
    text = (
        "{'name':'imagenet', 'pre_trained':'False', 'num_classes':1000, 'lr_init':0.02, 'batch_size':128, "
        "'epoch_size':160, 'momentum':0.9, 'weight_decay':1e-4, 'image_height':224, 'image_width':224, "
        "'data_path':'/data/ILSVRC2012_train/', 'val_data_path':'/data/ILSVRC2012_val/', "
        "'device_target':'Ascend', 'device_id':0, 'keep_checkpoint_max':30, 'checkpoint_path':'./ckpt_0/x.ckpt'}"
    )
    path = tmp_path / "r.yaml"
    path.write_text(text)
    assert load_recipe(path) == load_recipe(CONFIGS / "vit_base_patch16_224.yaml")


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_recipe_round_trips_through_json(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(CONFIGS / name)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.json_dict()))
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"epoch": 3}, "epoch: unknown key\n  hint: did you mean 'epochs'?"),
        ({"lerning_rate": 3}, "lerning_rate: unknown key"),
        ({"learning_rate": 3}, "did you mean 'base_lr'?"),
        ({"arch": "tnt_x_patch16_224"}, "did you mean tnt_s_patch16_224"),
        ({"epochs": True}, "expected a whole number ≥ 1, found true"),
        ({"mix_up": -0.1}, "mix_up"),
        ({"base_lr": float("nan")}, "base_lr"),
        ({"mix_up": 0.8, "batch_size": 7}, "batch_size 7 must be even"),
        ({"lr_scheduler": "multistep_lr"}, "needs lr_epochs"),
        ({"auto_augment": "rand-z9"}, "can't read 'z9'"),
        ({"auto_augment": "rand-m9", "color_jitter": 0.4}, "exclude each other"),
        ({"image_size": 100}, "not a multiple of the patch size"),
        ({"rrc_scale": [1.0, 0.1]}, "rising order"),
        ({"std": [0.0, 1.0, 1.0]}, "greater than 0"),
        ({"optimizer": "sgd"}, "optimizer"),
    ],
)
def test_a_mistake_is_named(mapping: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe(mapping)
    assert words in str(caught.value)


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe({"epoch": 1, "mix_up": -1, "seed": -1}, "job.yaml")
    assert [problem.path for problem in caught.value.problems] == ["epoch", "mix_up", "seed"]
    assert str(caught.value).startswith("job.yaml: epoch: unknown key")
    assert str(caught.value).endswith("\n3 problems")


def notes_of(values: dict[str, object]) -> tuple[str, ...]:
    tree = node_of(values, Place("r.yaml"))
    assert isinstance(tree, Mapping)
    return note_texts(translate(tree).notes)


def test_two_names_of_one_key_must_agree() -> None:
    assert make_recipe({"epochs": 3, "epoch_size": 3}).epochs == 3
    with pytest.raises(RecipeError, match="epochs is 3 and epoch_size is 4, but both mean epochs"):
        make_recipe({"epochs": 3, "epoch_size": 4})
    with pytest.raises(RecipeError, match="both mean image_size"):
        make_recipe({"image_height": 224, "image_width": 192})


def test_pre_trained_needs_a_checkpoint() -> None:
    assert make_recipe({"pre_trained": "True", "checkpoint_path": "a.ckpt"}).pretrained == "a.ckpt"
    with pytest.raises(RecipeError, match="names no checkpoint"):
        make_recipe({"pre_trained": True})
    with pytest.raises(RecipeError, match="expected True or False, found 'maybe'"):
        make_recipe({"pre_trained": "maybe"})
    with pytest.raises(RecipeError, match="pretrained is 'b' and checkpoint_path is 'a'"):
        make_recipe({"pre_trained": True, "checkpoint_path": "a", "pretrained": "b"})


def test_what_was_changed_is_noted() -> None:
    assert notes_of({"epochs": 3, "name": "imagenet"}) == ()
    assert notes_of({"checkpoint_path": "a", "device_id": 0, "image_height": 224}) == (
        "keys of the vit_base README: image_height is image_size",
        "checkpoint_path is not used, because pre_trained is not True",
        "device_id is not used: the launcher or DEVICE_ID chooses the device",
    )
    assert notes_of({"lr_init": 0.1, "lr_scale": "linear"})[1:] == (
        "arch is vit_base_patch16_224, as in the vit_base README",
        "optimizer is momentum, as in the vit_base README",
        "amp_level is auto, as in the vit_base README",
    )


def test_what_an_override_gives_is_not_noted_as_implied(tmp_path: Path) -> None:
    file = {"lr_init": 0.1, "arch": "vit_tiny_patch16_224"}
    below, above = (node_of(each, Place("r.yaml")) for each in (file, {"optimizer": "adamw"}))
    assert isinstance(below, Mapping) and isinstance(above, Mapping)
    both = translate(above, is_file=False).over(translate(below))
    assert [text for text in note_texts(both.notes) if "README" in text][1:] == [
        "lr_scale is none, as in the vit_base README",
        "amp_level is auto, as in the vit_base README",
    ]


def test_an_override_brings_no_defaults_of_the_other_readme(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("optimizer: adamw\narch: tnt_s_patch16_224\n")
    recipe = load_recipe(path, ["lr_init=0.1"])
    assert (recipe.optimizer, recipe.arch, recipe.base_lr) == ("adamw", "tnt_s_patch16_224", 0.1)


def test_a_repeated_key_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("epochs: 1\nepochs: 2\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:2:1: the key 'epochs' appears twice"):
        load_recipe(path)


@pytest.mark.parametrize("text", ["", "- 1\n", "{", "epochs", "\ud800"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.problems[0].place.file == str(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml: the recipe can't be read: No such file"):
        load_recipe(tmp_path / "r.yaml")


def test_overrides_are_read_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("epochs: 1\n")
    recipe = load_recipe(path, ["beta=[0.9, 0.99]", " base_lr =1e-3", "epochs=5", "epochs=0x10"])
    assert (recipe.beta, recipe.base_lr, recipe.epochs) == ((0.9, 0.99), 1e-3, 16)
    for wrong in ("epochs", "=3", "epochs=[", "epochs=ten", "epochs=1e999", "ten=3"):
        with pytest.raises(RecipeError) as caught:
            load_recipe(path, [wrong])
        (problem,) = caught.value.problems
        assert str(problem).startswith(f"--set {wrong}: "), problem


def test_arithmetic() -> None:
    assert steps_per_epoch(1_281_167, 128, 8) == 1251
    assert steps_per_epoch(10, 8, 2) == 0
    recipe = make_recipe({"base_lr": 1e-3, "batch_size": 64, "accumulate": 2})
    assert scaled_lr(recipe, 4) == pytest.approx(1e-3)


def test_every_field_is_described_and_has_a_default() -> None:
    assert all(field.description for field in Recipe.model_fields.values())
    assert Recipe().epochs == 300
