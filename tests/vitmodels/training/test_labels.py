"""Which output a class folder is in training, resumed training and evaluation."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from vitmodels.errors import DataError, ResumeError
from vitmodels.images.classes import Classes, imagenet
from vitmodels.images.data import scan_folder
from vitmodels.recipe_file import make_recipe

pytest.importorskip("mindspore")

from vitmodels.training.assemble import match_train, open_val


def recipe_of(**changes: object):  # type: ignore[no-untyped-def]
    return make_recipe({"arch": "vit_digits", "num_classes": 3, **changes})


def fill(root: Path, *names: str, count: int = 1) -> Path:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(out, "PNG")
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(out.getvalue())
    return root


def test_a_new_training_numbers_folders_by_class_order(tmp_path: Path) -> None:
    folder = scan_folder(fill(tmp_path, "c1", "c2", "c10"))
    for order, wanted in (
        ("text", ("c1", "c10", "c2")),
        ("natural", ("c1", "c2", "c10")),
        (None, ("c1", "c10", "c2")),
    ):
        assert match_train(folder, recipe_of(class_order=order), Classes(), resumes=False).names == wanted
    with pytest.raises(DataError, match="3 class folders, the recipe says num_classes 2"):
        match_train(folder, recipe_of(num_classes=2), Classes(), resumes=False)


def test_a_resumed_training_finds_its_classes_by_name(tmp_path: Path) -> None:
    folder = scan_folder(fill(tmp_path, "a", "c"))
    known = Classes(("c", "b", "a"), "text")
    found = match_train(folder, recipe_of(class_order="natural"), known, resumes=True)
    assert dict(found.labels) == {"a": 2, "c": 0}
    assert found.missing == ("b",)
    assert folder.relabelled(found).labels.tolist() == [2, 0]
    fill(tmp_path, "new")
    with pytest.raises(ResumeError, match="1 class folders that this training did not have: new"):
        match_train(scan_folder(tmp_path), recipe_of(), known, resumes=True)


def test_a_new_head_for_some_of_the_classes_of_the_weights(tmp_path: Path) -> None:
    """Weights of 1,000 classes and a data set of three of them: the net has three outputs."""
    folder = scan_folder(fill(tmp_path, *imagenet()[500:503]))
    found = match_train(folder, recipe_of(), Classes(imagenet()), resumes=False)
    assert sorted(found.labels.values()) == [0, 1, 2]
    assert found.names == tuple(sorted(imagenet()[500:503]))
    with pytest.raises(DataError, match="3 outputs and the names of 1000 classes"):
        match_train(folder, recipe_of(), Classes(imagenet()), resumes=True)


def test_training_folders_are_matched_in_any_unicode_form(tmp_path: Path) -> None:
    folder = scan_folder(fill(tmp_path, "cafe\u0301", "b"))
    for resumes in (True, False):
        found = match_train(folder, recipe_of(), Classes(("b", "caf\u00e9")), resumes=resumes)
        assert found.names == ("b", "caf\u00e9")
        assert folder.relabelled(found).labels.tolist() == [0, 1]
    with pytest.raises(ResumeError, match="did not have: b") as refused:
        match_train(folder, recipe_of(), Classes(("B", "caf\u00e9")), resumes=True)
    assert "rename 'b' to 'B'" in (refused.value.hint or "")
    fill(tmp_path, "caf\u00e9")
    with pytest.raises(DataError, match="two class folders of one name"):
        match_train(scan_folder(tmp_path), recipe_of(num_classes=3), Classes(), resumes=False)


def test_a_resumed_training_of_an_earlier_version_keeps_text_order(tmp_path: Path) -> None:
    folder = scan_folder(fill(tmp_path, "c1", "c2", "c10"))
    found = match_train(folder, recipe_of(class_order="natural"), Classes(), resumes=True)
    assert found.names == ("c1", "c10", "c2")


def test_pretrained_weights_keep_their_outputs_where_the_classes_are_theirs(tmp_path: Path) -> None:
    folder = scan_folder(fill(tmp_path, "c1", "c2", "c10"))
    known = Classes(("c10", "c2", "c1"), "natural")
    assert match_train(folder, recipe_of(), known, resumes=False).names == known.names
    other = Classes(("c10", "x"))
    assert match_train(folder, recipe_of(), other, resumes=False).names == ("c1", "c10", "c2")


def test_validation_labels_follow_the_training_folders(tmp_path: Path) -> None:
    fill(tmp_path / "train", "c1", "c2", "c10")
    fill(tmp_path / "val", "c2", "c10", count=2)
    for known, wanted in ((Classes(), [1, 1, 2, 2]), (Classes(order="natural"), [2, 2, 1, 1])):
        folder, account = open_val(recipe_of(), tmp_path, known)
        assert folder.labels.tolist() == wanted
        assert account.matching.missing == ("c1",)
    folder, _ = open_val(recipe_of(), tmp_path, Classes(("c2", "c10", "c1")))
    assert folder.labels.tolist() == [1, 1, 0, 0]
    with pytest.raises(DataError, match="no folder for 1 of 3 classes: c1"):
        open_val(recipe_of(), tmp_path, Classes(), strict=True)


def test_a_partly_copied_imagenet_val(tmp_path: Path) -> None:
    names = imagenet()[990:]
    fill(tmp_path / "val", *names)
    reverse = Classes(tuple(reversed(imagenet())))
    for known in (Classes(), Classes(order="natural"), Classes(imagenet()), reverse):
        folder, account = open_val(recipe_of(num_classes=1000), tmp_path, known)
        wanted = range(9, -1, -1) if known == reverse else range(990, 1000)
        assert folder.labels.tolist() == list(wanted)
        assert len(account.matching.missing) == 990


def test_places_without_names_are_a_warning_and_strict_refuses_them(tmp_path: Path) -> None:
    fill(tmp_path / "val", "a", "b")
    _, account = open_val(recipe_of(), tmp_path, Classes())
    assert any("wrong if one is missing" in line for line in account.lines())
    with pytest.raises(DataError, match="wrong if one is missing"):
        open_val(recipe_of(), tmp_path, Classes(), strict=True)
