"""How the nets of these tests are run."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def graph_mode() -> Iterator[None]:
    """Compiled, as in training."""
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)
