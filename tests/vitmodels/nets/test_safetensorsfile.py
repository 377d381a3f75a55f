"""What is written piece by piece is the file that the format's library would write."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save

from vitmodels.errors import CheckpointError
from vitmodels.nets import safetensorsfile
from vitmodels.nets.safetensorsfile import safetensors_pieces

KINDS = ["?", "u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "f8", "i8", "u8"]
ARRAYS = {
    **{f"{name}.{kind}": np.arange(-3, 3).astype(kind) for kind in KINDS for name in ("w", "é", "B", "b")},
    "empty": np.zeros((2, 0), np.float32),
    "number": np.array(7.0, np.float16),
    "transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T,
}


@pytest.mark.parametrize("metadata", [{}, {"classes": '["Köln", "\\n", "\U0001f600"]'}])
@pytest.mark.parametrize("limit", [5, 1 << 20])
def test_the_bytes_are_those_of_the_library(
    metadata: dict[str, str], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensorsfile, "PIECE", limit)
    header, *others = safetensors_pieces(ARRAYS, metadata)
    copies = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in ARRAYS.items()}
    assert b"".join([header, *others]) == save(copies, metadata or None)
    assert max(len(piece) for piece in others) == min(limit, max(value.nbytes for value in ARRAYS.values()))


def test_a_type_that_the_format_lacks_is_named() -> None:
    with pytest.raises(CheckpointError, match="z has the type complex128"):
        list(safetensors_pieces({"z": np.zeros(1, complex)}, {}))
