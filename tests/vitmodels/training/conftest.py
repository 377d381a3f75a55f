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


@pytest.fixture
def no_compile_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """For loops over trainers that compile nothing."""
    monkeypatch.setattr("vitmodels.training.loop.separate_cache", lambda name, settings: None)
    monkeypatch.setattr("vitmodels.training.loop.seal", lambda cache: None)
