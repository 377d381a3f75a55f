"""timm and PyTorch to compare with, also where torchvision has no compiled operators.

A torchvision that was built for another PyTorch (CPU or CUDA) can't load its operators, and then fails to be
imported, since it describes some of them. timm needs none of these; so they are declared here by name.
"""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType


def import_timm() -> ModuleType:
    """timm. Raises ImportError where timm or PyTorch is missing."""
    torch = importlib.import_module("torch")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(20):
        try:
            return importlib.import_module("timm")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library.define(f"{missing[1]}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
            for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "timm")]:
                del sys.modules[name]
    raise ImportError("torchvision lacks more operators than can be declared")
