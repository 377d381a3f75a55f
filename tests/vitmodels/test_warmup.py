"""What is read ahead before ranks start."""

from pathlib import Path

import pytest

from vitmodels import warmup


def test_large_libraries_are_read_ahead(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    sizes = {"lib/libcore.so.1": warmup.LARGE_BYTES, "lib/small.so": 10, "weights.bin": warmup.LARGE_BYTES}
    for name, size in sizes.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    (tmp_path / "lib" / "gone.so").symlink_to(tmp_path / "nowhere")
    assert warmup.read_ahead(tmp_path) == 1


def test_without_mindspore_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "read_ahead", lambda folder: pytest.fail(f"{folder} was read"))
    monkeypatch.setattr(warmup, "package_folder", lambda name: None)
    assert warmup.main(["--device", "ascend"]) == 0


def test_a_package_is_found_without_importing_it() -> None:
    assert warmup.package_folder("no_such_package_anywhere") is None
    folder = warmup.package_folder("email")
    assert folder is not None
    assert (folder / "__init__.py").is_file()
