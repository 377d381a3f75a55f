"""The Dockerfiles of docs/ take any base: each is built in a Debian that has Python and pip, and nothing that launcher needs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import __version__
from tests.bareroot import BareRoot, instructions, make_root

ROOT = Path(__file__).parents[1]
DOCKERFILES = [ROOT / "docs" / f"{name}.Dockerfile" for name in ("modelarts", "kubernetes")]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.geteuid() or not shutil.which("debootstrap"):
        pytest.skip("NOT TESTED: images in a bare root, which takes root and debootstrap")
    folder = tmp_path_factory.mktemp("bare")
    try:
        make_root(folder)
        yield folder
    except subprocess.SubprocessError as error:
        pytest.skip(f"NOT TESTED: no Debian could be fetched: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_images_are_built_from_a_bare_system(bare: Path) -> None:
    """One after the other: the second finds what it needs, as in an image that is there already."""
    for dockerfile in DOCKERFILES:
        root = BareRoot(bare, ROOT)
        try:
            root.build(dockerfile, PYTHON="python3")
        except subprocess.CalledProcessError as error:
            pytest.fail(f"{dockerfile.name}: {error.cmd[-1][-300:]}\n{error.output[-3000:]}")
    root = BareRoot(bare, ROOT)
    assert root.run("launcher --version").strip() == f"launcher {__version__}"
    assert root.run("id -u ma-user").strip() == "1000"
    assert "usage" in root.run("cd /tmp && python3 -m launcher.node --help")
    assert "usage" in root.run("cd /tmp && python3 -m vitmodels.train --help 2>&1")


def test_the_dockerfiles_copy_files_that_are_there() -> None:
    for dockerfile in DOCKERFILES:
        steps = list(instructions(dockerfile.read_text()))
        assert [word for word, _ in steps[:2]] == ["ARG", "FROM"]
        copied = [name for word, rest in steps if word == "COPY" for name in rest.split()[:-1]]
        assert copied
        assert [name for name in copied if not (ROOT / name).exists()] == []
