"""Which class folder is which output: by names, by ImageNet's synsets, by number, by order."""

from __future__ import annotations

import pytest

from vitmodels.errors import DataError
from vitmodels.images.account import Account
from vitmodels.images.classes import Classes, imagenet, match, ordered

NUMBERS = [str(number) for number in range(1000)]


def labels(folders: list[str], known: Classes, outputs: int, **more: object) -> list[int]:
    found = match(sorted(folders), known, outputs, where="val", **more)  # type: ignore[arg-type]
    return [found.labels[name] for name in sorted(folders)]


def test_the_two_orders() -> None:
    names = ["c10", "c2", "C1", "b", "c2a", "10", "9"]
    assert ordered(names, "text") == ("10", "9", "C1", "b", "c10", "c2", "c2a")
    assert ordered(names, "natural") == ("9", "10", "b", "C1", "c2", "c2a", "c10")
    assert ordered(["a²", "a2", "a١", ""], "natural") == ("", "a١", "a2", "a²")
    assert ordered(["A", "a"], "natural") == ordered(["a", "A"], "natural")


@pytest.mark.parametrize("gone", ["c1", "c10", "c2"])
def test_a_split_that_lacks_a_class_has_the_right_labels(gone: str) -> None:
    known = Classes(("c1", "c10", "c2"))
    left = [name for name in known.names if name != gone]
    found = match(left, known, 3, where="val")
    assert dict(found.labels) == {name: known.names.index(name) for name in left}
    assert (found.missing, found.unknown, found.by) == ((gone,), (), "names")


def test_folders_that_the_net_does_not_know() -> None:
    found = match(["a", "c", "x", "y"], Classes(("c", "b", "a")), 3, where="val")
    assert dict(found.labels) == {"a": 2, "c": 0}
    assert (found.missing, found.unknown) == (("b",), ("x", "y"))
    with pytest.raises(
        DataError, match="none of the 2 class folders of val is a class of the weights: folders x, y"
    ):
        match(["x", "y"], Classes(("c", "b", "a")), 3, where="val")


def test_names_that_can_not_be_those_of_the_outputs() -> None:
    """As in the metadata of other programs: ImageNet's names in English have two cranes."""
    known = Classes(("crane", "heron", "crane"))
    with pytest.raises(DataError, match="several outputs of the weights have the name crane"):
        match(["crane", "heron"], known, 3, where="val")
    assert labels(["heron"], known, 3) == [1]
    with pytest.raises(DataError, match="2 outputs and the names of 3 classes"):
        match(["heron"], known, 2, where="val")


def test_imagenet_v2_has_numbers_for_names() -> None:
    """0, 1, 10, 100 … on disk; the number is the output, whether the weights know ImageNet's names or none."""
    wanted = [int(name) for name in sorted(NUMBERS)]
    assert labels(NUMBERS, Classes(imagenet()), 1000) == wanted
    assert labels(NUMBERS, Classes(order="natural"), 1000) == wanted
    assert labels(["0", "7", "70", "700"], Classes(imagenet()), 1000) == [0, 7, 70, 700]
    assert labels(["0", "7", "70", "700"], Classes(order="natural"), 1000) == [0, 7, 70, 700]
    assert labels(["0000", "0007", "0070"], Classes(order="natural"), 1000) == [0, 7, 70]
    assert match(["0", "7"], Classes(order="natural"), 1000, where="val").by == "numbers"


@pytest.mark.parametrize("folders", [NUMBERS, ["0", "7", "70", "700"], ["0000", "0007", "0070"]])
def test_the_numbers_of_imagenet_v2_are_outputs_of_frameworks_that_number_by_text(folders: list[str]) -> None:
    """Their published weights have ImageNet's 1,000 outputs, in the order of its synsets; a recipe may say that it is not so."""
    found = match(folders, Classes(order="text"), 1000, where="val")
    assert [found.labels[name] for name in folders] == [int(name) for name in folders]
    assert (found.by, found.certain) == ("numbers", True)
    stated = match(folders, Classes().numbered("text"), 1000, where="val")
    assert [stated.labels[name] for name in sorted(folders)] == list(range(len(folders)))
    trained = match(folders, Classes(), 1000, where="val", train=folders)
    assert trained.by != "numbers"


def test_numbered_folders_in_text_order_are_uncertain_unless_the_recipe_says_so() -> None:
    folders = [str(number) for number in range(1, 12)]
    found = match(folders, Classes(), 11, where="val")
    assert not found.certain
    assert match(folders, Classes().numbered("text"), 11, where="val").certain
    assert match(folders, Classes(order="natural"), 11, where="val").certain
    assert match([f"{number:02}" for number in range(1, 12)], Classes(), 11, where="val").certain
    account = Account("val", 1, 1, 0, {}, (), found)
    assert "class_order" in account.warnings[0]


def test_a_net_of_numbered_folders_knows_imagenets_names() -> None:
    assert labels([imagenet()[3], imagenet()[12]], Classes(ordered(NUMBERS, "text")), 1000) == [
        ordered(NUMBERS, "text").index("3"),
        ordered(NUMBERS, "text").index("12"),
    ]


@pytest.mark.parametrize("known", [Classes(imagenet()), Classes(), Classes(order="natural")])
def test_imagenet_a_and_r_have_200_of_1000_classes(known: Classes) -> None:
    folders = list(imagenet()[5::5])
    found = match(folders, known, 1000, where="imagenet-a")
    assert [found.labels[name] for name in folders] == list(range(5, 1000, 5))
    assert len(found.missing) == 801
    assert found.certain


def test_folders_of_another_data_set_with_1000_classes_are_in_order() -> None:
    names = [*imagenet()[:900], *(f"x{number}" for number in range(100))]
    assert labels(names, Classes(), 1000) == list(range(1000))


def test_the_training_folders_tell_what_the_weights_do_not() -> None:
    train = ["a", "b", "c10", "c2"]
    assert labels(["a", "c2"], Classes(), 4, train=train) == [0, 3]
    assert labels(["a", "c2"], Classes(order="natural"), 4, train=train) == [0, 2]
    found = match(["a", "c2", "z"], Classes(), 4, where="val", train=train)
    assert (found.by, found.missing, found.unknown) == ("train", ("b", "c10"), ("z",))


def test_places_in_order_are_uncertain_when_folders_are_fewer_than_outputs() -> None:
    assert match(["a", "b"], Classes(), 2, where="val").certain
    assert not match(["a", "b"], Classes(), 3, where="val").certain
    with pytest.raises(DataError, match="val has 3 class folders, the recipe says num_classes 2"):
        match(["a", "b", "c"], Classes(), 2, where="val")


def test_folders_numbered_in_text_order_stay_so() -> None:
    """Sets of earlier versions have no names: their training numbered the folders as text."""
    folders = [str(number) for number in range(12)]
    assert labels(folders, Classes(), 12) == list(range(12))
    assert labels(folders, Classes(order="natural"), 12) == [int(name) for name in sorted(folders)]


def test_what_is_stored_is_read() -> None:
    known = Classes(("b", "a", "ü\udcff"), "natural")
    assert Classes.from_dict(known.as_dict()) == known
    assert Classes.from_dict({}) == Classes()
    assert Classes.from_dict({}, "natural") == Classes(order="natural")
    assert Classes.from_dict({"classes": "abc", "class_order": 7}) == Classes()


def test_a_recipes_order_counts_where_weights_know_no_names() -> None:
    assert Classes(order="natural").numbered("text") == Classes(order="text")
    assert Classes(order="natural").numbered(None) == Classes(order="natural")
    assert Classes(("a", "b"), "natural").numbered("text") == Classes(("a", "b"), "natural")


# ---- names that look alike

CAFE, CAFE_IN_TWO = "caf\u00e9", "cafe\u0301"
HANGUL, HANGUL_IN_THREE = "\ud55c", "\u1112\u1161\u11ab"


@pytest.mark.parametrize(
    "known", [Classes((HANGUL, "b", CAFE)), Classes((HANGUL_IN_THREE, "b", CAFE_IN_TWO))]
)
@pytest.mark.parametrize("folders", [[CAFE, HANGUL], [CAFE_IN_TWO, HANGUL_IN_THREE], [CAFE, HANGUL_IN_THREE]])
def test_a_name_in_another_unicode_form_is_the_class(known: Classes, folders: list[str]) -> None:
    found = match(folders, known, 3, where="val")
    assert [found.labels[name] for name in folders] == [2, 0]
    assert (found.missing, found.unknown) == (("b",), ())
    assert set(found.respelled) == {name for name in folders if name not in known.names}


def test_the_training_folders_are_matched_in_any_unicode_form() -> None:
    found = match([CAFE_IN_TWO], Classes(), 2, where="val", train=["b", CAFE])
    assert (found.by, dict(found.labels), found.missing) == ("train", {CAFE_IN_TWO: 1}, ("b",))


@pytest.mark.parametrize(
    ("known", "train"), [(Classes((CAFE, "b")), []), (Classes(), [CAFE, "b"]), (Classes(), [])]
)
def test_two_folders_of_one_name_are_an_error(known: Classes, train: list[str]) -> None:
    with pytest.raises(
        DataError, match=r"val has two class folders of one name, 'cafe\\u0301' and 'caf\\xe9'"
    ):
        match([CAFE_IN_TWO, CAFE], known, 2, where="val", train=train)


def test_weights_that_tell_two_forms_apart_still_do() -> None:
    known = Classes((CAFE_IN_TWO, CAFE))
    assert labels([CAFE, CAFE_IN_TWO], known, 2) == [0, 1]
    assert match([CAFE], known, 2, where="val").missing == (CAFE_IN_TWO,)


@pytest.mark.parametrize("folder", ["cat ", " cat", "Cat", "CAT", "\uff43at", "cat\u200b", "cat\u00a0"])
def test_case_and_blanks_are_pointed_at_and_not_matched(folder: str) -> None:
    found = match([folder, "dog"], Classes(("cat", "dog")), 2, where="val")
    assert (found.missing, found.unknown, dict(found.lookalikes)) == (("cat",), (folder,), {folder: "cat"})
    with pytest.raises(DataError) as alone:
        match([folder], Classes(("cat", "dog")), 2, where="val")
    assert f"rename {folder!a} to 'cat'" in (alone.value.hint or "")


def test_names_that_only_begin_alike_are_no_lookalikes() -> None:
    assert not match(["cats", "dog"], Classes(("cat", "dog")), 2, where="val").lookalikes
    assert not match(["Cat", "cat"], Classes(("cat", "dog")), 2, where="val").lookalikes
