"""Makes tnt.npz and vit.npz in this folder with timm and PyTorch (run it where these are installed).

    python tests/vitmodels/nets/golden/make_golden.py

Each file holds a tiny model's weights (w:name), an input x, logits y, and the gradients (g:name) of the sum
of y * c. Made with timm 1.0.31 and torch 2.13.0.
"""

from pathlib import Path

import numpy as np
import timm
import torch
from timm.models.tnt import TNT
from timm.models.vision_transformer import VisionTransformer

FOLDER = Path(__file__).parent


def tiny_models() -> dict[str, torch.nn.Module]:
    return {
        "tnt": TNT(
            img_size=32,
            patch_size=16,
            num_classes=5,
            embed_dim=24,
            inner_dim=8,
            depth=2,
            num_heads_inner=2,
            num_heads_outer=3,
        ),
        "vit": VisionTransformer(
            img_size=32, patch_size=8, num_classes=5, embed_dim=24, depth=2, num_heads=3
        ),
    }


def main() -> None:
    torch.manual_seed(7)
    for name, model in tiny_models().items():
        model.eval()
        with torch.no_grad():  # far from the first values, so that nothing hides in a zero or a one
            for value in model.parameters():
                value.add_(0.1 * torch.randn_like(value))
        x = torch.randn(2, 3, 32, 32)
        y = model(x)
        c = torch.randn_like(y)
        (y * c).sum().backward()
        weights = {f"w:{key}": value.detach().numpy() for key, value in model.named_parameters()}
        grads = {f"g:{key}": value.grad.numpy() for key, value in model.named_parameters()}
        np.savez_compressed(
            FOLDER / f"{name}.npz", x=x.numpy(), y=y.detach().numpy(), c=c.numpy(), **weights, **grads
        )
        print(name, "timm", timm.__version__, "torch", torch.__version__)


if __name__ == "__main__":
    main()
