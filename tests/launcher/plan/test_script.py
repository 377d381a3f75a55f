"""What the words of a program say: its Python, its script, the frameworks that this imports."""

from pathlib import Path

import pytest

from launcher.plan.script import Script, frameworks_of, script_of, search_path, with_python


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ("python train.py --lr 1", Script("train.py")),
        ("python3 -u -X dev -Wignore train.py", Script("train.py")),
        ("/opt/venv/bin/python3.11 -W error src/train.py", Script("src/train.py")),
        ("python -u -m mine.train x.py", Script("mine.train", is_module=True)),
        ("python -mmine x.py", Script("mine", is_module=True)),
        ("python -c pass x.py", None),
        ("python - x.py", None),
        ("python", None),
        ("bash train.sh", None),
        ("pythonic train.py", None),
    ],
)
def test_the_script_is_the_first_word_that_a_python_takes_for_one(words: str, script: Script | None) -> None:
    assert script_of(words.split()) == script


def test_python_is_the_jobs_own_and_other_programs_stay() -> None:
    assert with_python(("python", "a.py"), "/venv/bin/python") == ("/venv/bin/python", "a.py")
    assert with_python(("python3", "a.py"), "/venv/bin/python") == ("/venv/bin/python", "a.py")
    assert with_python(("python3.9", "a.py"), "/venv/bin/python") == ("python3.9", "a.py")


def test_programs_beside_the_python_come_first() -> None:
    assert search_path("/venv/bin/python", "/usr/bin:/bin") == "/venv/bin:/usr/bin:/bin"
    assert search_path("/venv/bin/python", "/venv/bin:/bin") == "/venv/bin:/bin"
    assert search_path("python", "/bin") == "/bin"
    assert search_path("/venv/bin/python", "") == "/venv/bin"


@pytest.mark.parametrize(
    ("files", "frameworks"),
    [
        ({"train.py": "import os\nimport mindspore as ms\n"}, ("mindspore",)),
        ({"train.py": "from torch.nn import Linear\n"}, ("torch",)),
        ({"train.py": "import torch, mindspore\n"}, ("mindspore", "torch")),
        ({"train.py": "import mindsporelike\n"}, ()),
        ({"train.py": "try:\n    import torch\nexcept ImportError:\n    torch = None\n"}, ()),
        ({"train.py": "import torch\ndef f():\n    import mindspore\n"}, ()),
        (
            {"train.py": "import torch\nimport nets\n", "nets.py": "import mindspore\n"},
            ("mindspore", "torch"),
        ),
        (
            {
                "train.py": "import torch\nfrom lib import nets\n",
                "lib/__init__.py": "",
                "lib/nets.py": "from . import a",
            },
            ("torch",),
        ),
        (
            {
                "train.py": "from lib.nets import f\n",
                "lib/nets.py": "from .deep import g\n",
                "lib/deep.py": "import mindspore",
            },
            ("mindspore",),
        ),
        ({"train.py": "print 'python 2'\n"}, ()),
        ({"train.py": "import a\n", "a.py": "import b\n", "b.py": "import a\nimport torch\n"}, ("torch",)),
    ],
)
def test_the_frameworks_of_a_script(
    tmp_path: Path, files: dict[str, str], frameworks: tuple[str, ...]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert frameworks_of(["python", "train.py"], tmp_path) == frameworks
    assert frameworks_of(["python", "-m", "train"], tmp_path) == frameworks
    assert frameworks_of(["bash", "train.py"], tmp_path) == ()
