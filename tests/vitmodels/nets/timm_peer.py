"""timm and PyTorch for tests that compare with them."""

from __future__ import annotations

from types import ModuleType

import pytest

from benchmarks import torch_peer


def import_timm() -> ModuleType:
    """timm; skips the calling module where timm or PyTorch is missing."""
    try:
        return torch_peer.import_timm()
    except ImportError as error:
        pytest.skip(f"no timm: {error}", allow_module_level=True)
