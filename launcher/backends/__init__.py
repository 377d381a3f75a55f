"""The name of a back end comes in; a Backend goes out, which turns a Plan into a request and answers for the run.

`docs/backends.md` shows how to add one.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.backends.base import Backend, Handle, ManyAtOnce
from launcher.errors import BackendError

if TYPE_CHECKING:
    from launcher.plan.model import Plan

BACKENDS = {
    "kubernetes": "launcher.backends.kubernetes.backend:KubernetesBackend",
    "local": "launcher.backends.local:LocalBackend",
    "modelarts": "launcher.backends.modelarts.backend:ModelArtsBackend",
    "slurm": "launcher.backends.slurm.backend:SlurmBackend",
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


def starts_again(name: str) -> bool:
    """Whether a back end's platform starts failed runs again; False for a back end that this launcher does not have."""
    return name in BACKENDS and get_backend(name).starts_again


def start_all(backend: Backend, plans: Sequence[Plan]) -> list[Handle]:
    """Start several runs, with one request where the platform can. Raises BackendError after cancelling all of them."""
    if isinstance(backend, ManyAtOnce) and len(plans) > 1:
        return list(backend.submit_all(plans))
    handles: list[Handle] = []
    try:
        for plan in plans:
            handles.append(backend.submit(plan, 1))
    except BaseException:
        for handle in handles:
            with contextlib.suppress(BackendError):
                backend.cancel(handle)
        raise
    return handles
