"""Logits and gradients against timm at full size; skipped where timm and PyTorch are not installed."""

from typing import Any

import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import logits_and_grads, worst_relative
from tests.vitmodels.nets.timm_peer import import_timm
from vitmodels.nets.layouts import convert
from vitmodels.nets.registry import create_model
from vitmodels.nets.weightfiles import write_weights
from vitmodels.nets.weights import load_weights, model_weights

pytest.importorskip("mindspore")
torch = pytest.importorskip("torch")
timm = import_timm()

ARCHS = ["vit_tiny_patch16_224", "vit_small_patch32_224", "vit_base_patch16_224", "tnt_s_patch16_224"]


def disturbed(arch: str, **options: Any) -> Any:
    """timm's net in evaluation mode, with weights far from their first values."""
    torch.manual_seed(1)
    net = timm.create_model(arch, **options).eval()
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(value + 0.1 * torch.randn_like(value) if value.ndim < 2 else 2 * value)
    return net


@pytest.mark.parametrize("arch", ARCHS)
def test_logits_and_gradients(arch: str) -> None:
    theirs = disturbed(arch, num_classes=1000)
    x = torch.randn(2, 3, 224, 224)
    y = theirs(x)
    c = torch.randn_like(y)
    (y * c).sum().backward()
    ours = create_model(arch, num_classes=1000)
    load_weights(ours, {name: value.detach().numpy() for name, value in theirs.named_parameters()})
    found, grads = logits_and_grads(ours, x.numpy(), c.numpy())
    assert np.abs(found - y.detach().numpy()).max() < 1e-4
    assert (
        worst_relative(grads, {name: value.grad.numpy() for name, value in theirs.named_parameters()}) < 1e-3
    )


def spread(value: np.ndarray) -> float:
    """Median distance from zero: timm's draw puts a rare +-2 among numbers of 0.02, which a deviation feels."""
    return float(np.median(np.abs(value)))


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "tnt_s_patch16_224"])
def test_first_values_have_the_same_spread(arch: str) -> None:
    torch.manual_seed(1)
    theirs = dict(timm.create_model(arch, num_classes=1000).named_parameters())
    for name, value in model_weights(create_model(arch, num_classes=1000)).items():
        wanted = theirs[name].detach().numpy()
        assert value.shape == wanted.shape
        slack = 14 / value.size**0.5 * spread(wanted)  # five deviations of a difference of medians
        assert abs(spread(value) - spread(wanted)) <= slack, name
        assert abs(np.median(value) - np.median(wanted)) <= slack, name


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "tnt_s_patch16_224"])
def test_positions_are_interpolated_as_timm_does(arch: str) -> None:
    from timm.layers import resample_abs_pos_embed

    from vitmodels.archs import ARCHS as KNOWN

    source = {k: v.detach().numpy() for k, v in disturbed(arch, num_classes=10).named_parameters()}
    name = "patch_pos" if arch.startswith("tnt") else "pos_embed"
    for size in (384, 160):
        found = convert(source, KNOWN[arch].resized(size), 10).weights[name]
        wanted = resample_abs_pos_embed(torch.tensor(source[name]), [size // 16, size // 16]).numpy()
        assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max() + 1e-6


def test_timm_loads_what_we_write(tmp_path: Any) -> None:
    from safetensors.torch import load_file

    net = create_model("vit_tiny_patch16_224", num_classes=10, seed=5)
    write_weights(model_weights(net), tmp_path / "net.safetensors")
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    theirs.load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)


def answer(net: Any, x: Any, c: np.ndarray, autocast: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """timm's logits and the gradients of sum(y * c), in bfloat16 where PyTorch's autocast takes it."""
    net.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = net(x)
    (y.float() * torch.from_numpy(c)).sum().backward()
    return y.detach().float().numpy(), {n: p.grad.numpy().copy() for n, p in net.named_parameters()}


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """The length of the difference over the length of `wanted`."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("arch", ["vit_small_patch16_224", "tnt_s_patch16_224"])
def test_bfloat16_is_as_near_to_float32_as_pytorchs(arch: str) -> None:
    rounding = 2.0**-8  # bfloat16 keeps 8 binary digits
    theirs = disturbed(arch, num_classes=1000)
    x, c = torch.randn(2, 3, 224, 224), torch.randn(2, 1000).numpy()
    (y, grads), (rounded, rounded_grads) = (answer(theirs, x, c, autocast) for autocast in (False, True))
    ours = create_model(arch, num_classes=1000, amp_level="bf16")
    load_weights(ours, {name: value.detach().numpy() for name, value in theirs.named_parameters()})
    found, found_grads = logits_and_grads(ours, x.numpy(), c)
    assert rounding / 4 < apart(found, y) < min(4 * rounding, 1.25 * apart(rounded, y))
    for name, wanted in grads.items():
        assert apart(found_grads[name], wanted) < 1.5 * apart(rounded_grads[name], wanted) + rounding, name
