"""The Vision Transformer of https://arxiv.org/abs/2010.11929, with the parameter layout of timm."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn

from vitmodels.archs import ModelConfig
from vitmodels.device.stochastic import Dropout, DropPath, MaskLayout
from vitmodels.nets.layers.choice import Layers, Operators, best_operators, choose_layers
from vitmodels.nets.layers.classifier import Classifier
from vitmodels.nets.layers.patch_embed import PatchEmbed
from vitmodels.nets.layers.tokens import AddClassToken


class Block(nn.Cell):
    """Attention and MLP; each normalises its input and adds its output to it."""

    def __init__(
        self, config: ModelConfig, layers: Layers, layout: MaskLayout, drop: float, drop_path: float
    ) -> None:
        super().__init__()
        dim, tokens = config.dim, config.patches + 1
        self.norm1 = layers.layer_norm(dim, config.norm_eps)
        self.attn = layers.attention(
            dim, config.heads, tokens, layout, qkv_bias=config.qkv_bias, fused=True, drop=drop
        )
        self.drop_path1 = DropPath(drop_path, layout)
        self.norm2 = layers.layer_norm(dim, config.norm_eps)
        self.mlp = layers.mlp(dim, config.mlp_ratio * dim, tokens, drop, layout)
        self.drop_path2 = DropPath(drop_path, layout)

    def construct(self, x: Tensor, masks: Tensor | None = None) -> Tensor:  # (B*(N+1), dim)
        x = x + self.drop_path1(self.attn(self.norm1(x), masks), masks)
        return x + self.drop_path2(self.mlp(self.norm2(x), masks), masks)


class ViT(Classifier):
    """Images (B, 3, H, W), normalised, to logits (B, num_classes)."""

    def __init__(
        self,
        config: ModelConfig,
        num_classes: int,
        *,
        operators: Operators | None = None,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        layout = MaskLayout()
        layers = choose_layers(operators or best_operators(), attn_drop)
        super().__init__(config, layout, layers.operators)
        dim = config.dim
        self.tokens = (-1, config.patches + 1, dim)
        self.patch_embed = PatchEmbed(config)
        self.cls_token = Parameter(Tensor(np.zeros((1, 1, dim), np.float32)), name="cls_token")
        positions = np.zeros((1, config.patches + 1, dim), np.float32)
        self.pos_embed = Parameter(Tensor(positions), name="pos_embed")
        self.add_class_token = AddClassToken(config.patches, dim)
        self.pos_drop = Dropout(drop, layout, config.patches + 1, dim)
        rates = np.linspace(0, drop_path, config.depth)  # stochastic depth grows with depth
        blocks = [Block(config, layers, layout, drop, float(rate)) for rate in rates]
        self.blocks = nn.CellList(blocks)
        self.norm = layers.layer_norm(dim, config.norm_eps)
        self.head = layers.linear(dim, num_classes)

    def construct(self, images: Tensor, masks: Tensor | None = None) -> Tensor:  # (B, 3, H, W)
        x = self.patch_embed(images)  # (B, N, dim)
        x = self.add_class_token(x, self.cls_token, self.pos_embed)  # (B*(N+1), dim)
        x = self.pos_drop(x, masks)
        for block in self.blocks:
            x = block(x, masks)  # (B*(N+1), dim)
        x = x.reshape(self.tokens)[:, 0]  # (B, dim), the class token
        return self.head(self.norm(x))  # (B, num_classes)
