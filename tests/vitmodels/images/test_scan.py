"""What counts as an image of a class, and how everything else is counted, on disk and by key."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from vitmodels.errors import DataError
from vitmodels.images.account import take_known
from vitmodels.images.classes import Classes
from vitmodels.images.data import decode, scan_folder
from vitmodels.images.imagenames import EXTENSIONS, begins_like_image, labelled, left_out, needs_look
from vitmodels.images.scan import class_folders, list_split


def picture(kind: str = "PNG", size: tuple[int, int] = (4, 3)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind)
    return out.getvalue()


def put(root: Path, *keys: str, data: bytes | None = None) -> None:
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(picture() if data is None else data)


@pytest.mark.parametrize("suffix", sorted(EXTENSIONS))
def test_every_suffix_in_any_case(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, f"a/1{suffix}", f"a/2{suffix.upper()}")
    assert len(scan_folder(tmp_path)) == 2
    assert decode(scan_folder(tmp_path).path(0)).size == (4, 3)


def test_suffixes_that_torchvision_knows_and_people_have() -> None:
    assert {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".jfif"} <= EXTENSIONS


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_without_suffix_is_known_by_its_content(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "a/n01440764_36", data=picture(kind))
    put(tmp_path, "a/LICENSE", data=b"Permission is granted")
    put(tmp_path, "a/empty", data=b"")
    found = scan_folder(tmp_path)
    assert found.files == ("a/n01440764_36",)
    assert found.left_out == {"without suffix, and no image": 2}
    assert decode(found.path(0)).size == (4, 3)


def test_words_are_no_images() -> None:
    for head in (b"", b"P", b"P7", b"Pillow", b"RIFF1234WAVE", b"%PDF-1.4", b"II", b"BIG"):
        assert not begins_like_image(head)


def test_images_of_subfolders_belong_to_their_class(tmp_path: Path) -> None:
    put(tmp_path, "b/1.png", "a/z.png", "a/sub/1.png", "a/sub/deep/er/2.png", "a/a/1.png")
    found = scan_folder(tmp_path)
    assert found.classes == ("a", "b")
    assert found.files == ("a/z.png", "a/a/1.png", "a/sub/1.png", "a/sub/deep/er/2.png", "b/1.png")
    assert found.labels.tolist() == [0, 0, 0, 0, 1]
    assert found.nested == 3


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    put(tmp_path, "store/1.png", "store/2.png", "root/a/1.png")
    root = tmp_path / "root"
    (root / "b").symlink_to(tmp_path / "store")
    (root / "a" / "sub").symlink_to(tmp_path / "store")
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "2.png").symlink_to(tmp_path / "store" / "2.png")
    (root / "a" / "gone.png").symlink_to(tmp_path / "nothing")
    (root / "broken").symlink_to(tmp_path / "nothing")
    os.mkfifo(root / "a" / "pipe.png")
    found = list_split(root)
    assert found.classes == ("a", "b")
    files = [file for _, file in found.images]
    assert files[:4] == ["a/1.png", "a/2.png", "a/sub/1.png", "a/sub/2.png"]
    assert files[-2:] == ["b/1.png", "b/2.png"]
    assert found.left_out["broken links"] == 2
    assert found.left_out["not ordinary files"] == 1
    assert found.left_out["links to a folder above"] == 2
    assert len(files) == 6


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/.hidden.png", ".cache/x.png", "a/.thumbs/y.png", "loose.jpg")
    put(tmp_path, "a/notes.txt", "a/sub/b.TXT", "a/c.json", "README", data=b"words")
    (tmp_path / "empty").mkdir()
    found = scan_folder(tmp_path)
    assert (found.files, found.classes, found.empty) == (("a/1.png",), ("a", "empty"), ("empty",))
    assert found.left_out == {".json": 1, ".txt": 2, "hidden": 3, "outside of class folders": 2}
    assert class_folders(tmp_path) == ("a", "empty")
    assert class_folders(tmp_path / "none") == ()


def test_a_folder_without_images_says_what_there_is_instead(tmp_path: Path) -> None:
    put(tmp_path, "loose.jpg", "a/x.gif")
    with pytest.raises(
        DataError, match=r"no images in class folders, but 1 \.gif, 1 outside of class folders"
    ):
        scan_folder(tmp_path)


def test_keys_follow_the_rule_of_folders() -> None:
    assert labelled("train/a/x.jfif") == ("train", "a")
    assert labelled("train/a/b/c/x.jpg") == ("train", "a")
    assert labelled("a/b/x.PGM") == ("", "a")
    for key in (
        "train/x.jpg",
        "x.jpg",
        "train/a/x.txt",
        "train/a/.x.jpg",
        "train/.a/x.jpg",
        "train/a/.b/x.jpg",
    ):
        assert labelled(key) is None
        assert left_out(key)
    assert labelled("train/a/x") is None
    assert needs_look("train/a/x") and needs_look("train/a/b/x.")
    assert not needs_look("train/x") and not needs_look("train/a/.x") and not needs_look("train/a/x.txt")


def test_an_account_says_what_is_used_and_what_is_not(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/sub/2.png", "x/1.png", "x/2.png")
    put(tmp_path, "a/notes.txt", data=b"words")
    (tmp_path / "b").mkdir()
    folder, account = take_known(scan_folder(tmp_path), "val", Classes(("b", "c", "a")), 3, strict=False)
    assert folder.files == ("a/1.png", "a/sub/2.png")
    assert folder.labels.tolist() == [2, 2]
    assert account.lines() == [
        "val: 2 images of 1 classes, 1 of them in sub-folders; left out: 1 .txt, 2 images of unknown classes",
        "warning: val: no folder for 1 of 3 classes: c",
        "warning: val: 1 class folder that the net does not know: x; left out with their images, 2",
        "warning: val: 1 class folder without images: b",
    ]
    facts = account.as_dict()
    assert (facts["missing_classes"], facts["unknown_classes"], facts["empty_classes"]) == (
        ["c"],
        ["x"],
        ["b"],
    )
    assert (facts["images"], facts["in_subfolders"]) == (2, 1)
    with pytest.raises(DataError, match="no folder for 1 of 3 classes"):
        take_known(scan_folder(tmp_path), "val", Classes(("b", "c", "a")), 3, strict=True)


def test_an_account_names_folders_of_another_unicode_form_and_those_that_look_alike(tmp_path: Path) -> None:
    put(tmp_path, "cafe\u0301/1.png", "Cat/1.png")
    known = Classes(("cat", "caf\u00e9"))
    folder, account = take_known(scan_folder(tmp_path), "val", known, 2, strict=False)
    assert folder.labels.tolist() == [1]
    assert account.lines() == [
        "val: 1 images of 1 classes; left out: 1 images of unknown classes",
        r"val: 1 class folder in another Unicode form than the classes: 'cafe\u0301' is 'caf\xe9'",
        "warning: val: no folder for 1 of 2 classes: cat",
        "warning: val: 1 class folder that the net does not know: Cat; left out with their images, 1",
        "warning: val: names are compared as they are: rename 'Cat' to 'cat' if that is meant",
    ]
    assert account.as_dict()["respelled_classes"] == {"cafe\u0301": "caf\u00e9"}
