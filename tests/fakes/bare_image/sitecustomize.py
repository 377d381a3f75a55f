"""On PYTHONPATH it hides the packages that launcher and vitmodels can do without, in every process that a run starts."""

import importlib.abc
import sys

HIDDEN = {"rich", "matplotlib", "simplejpeg", "cykooz_resizer", "obstore"}


class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):  # type: ignore[no-untyped-def]
        if fullname.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)


sys.meta_path.insert(0, Hidden())
