"""Back ends by name; each is one module, imported when it is used."""

from __future__ import annotations

import importlib

from launcher.backends.base import Backend
from launcher.errors import BackendError

BACKENDS = {
    "local": "launcher.backends.local:LocalBackend",
    "modelarts": "launcher.backends.modelarts:ModelArtsBackend",
}


def get_backend(name: str) -> Backend:
    """Raises BackendError for a name that is not in `BACKENDS`."""
    if name not in BACKENDS:
        raise BackendError(
            f"unknown back end '{name}'", hint=f"known back ends: {', '.join(sorted(BACKENDS))}"
        )
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend
