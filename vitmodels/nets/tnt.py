"""Transformer in Transformer, https://arxiv.org/abs/2103.00112, with the parameter layout of timm.

This is the function of the authors' PyTorch code (timm's `tnt_s_patch16_224`, not its `legacy` variant):
the convolution sees one patch at a time, and the projection from pixels to a patch is normalised on both sides.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn

from vitmodels.archs import ModelConfig
from vitmodels.device.stochastic import Dropout, DropPath, MaskLayout
from vitmodels.nets.layers.choice import Layers, Operators, best_operators, choose_layers
from vitmodels.nets.layers.classifier import Classifier
from vitmodels.nets.layers.pixel_embed import PixelEmbed
from vitmodels.nets.layers.tokens import AddClassToken, PrependZeros


class Block(nn.Cell):
    """An inner transformer over the M pixels of each patch, then an outer one over the N patches."""

    def __init__(
        self, config: ModelConfig, layers: Layers, layout: MaskLayout, drop: float, drop_path: float
    ) -> None:
        super().__init__()
        inner, dim, eps = config.inner_dim, config.dim, config.norm_eps
        patches, pixels = config.patches, config.pixels
        bias = config.qkv_bias
        self.flat = (-1, pixels * inner)
        self.patch_tokens = (-1, patches, dim)
        self.rows = (-1, dim)
        self.norm_in = layers.layer_norm(inner, eps)
        self.attn_in = layers.attention(
            inner,
            config.inner_heads,
            pixels,
            layout,
            sequences=patches,
            qkv_bias=bias,
            fused=False,
            drop=drop,
        )
        self.drop_path_in1 = DropPath(drop_path, layout, sequences=patches)
        self.norm_mlp_in = layers.layer_norm(inner, eps)
        self.mlp_in = layers.mlp(inner, 4 * inner, patches * pixels, drop, layout)
        self.drop_path_in2 = DropPath(drop_path, layout, sequences=patches)
        self.norm1_proj = layers.layer_norm(pixels * inner, eps)
        self.proj = layers.linear(pixels * inner, dim, bias=False)
        self.norm2_proj = layers.layer_norm(dim, eps)
        self.prepend_zeros = PrependZeros()
        self.norm_out = layers.layer_norm(dim, eps)
        self.attn_out = layers.attention(
            dim, config.heads, patches + 1, layout, qkv_bias=bias, fused=False, drop=drop
        )
        self.drop_path1 = DropPath(drop_path, layout)
        self.norm_mlp = layers.layer_norm(dim, eps)
        self.mlp = layers.mlp(dim, config.mlp_ratio * dim, patches + 1, drop, layout)
        self.drop_path2 = DropPath(drop_path, layout)

    def construct(
        self, pixels: Tensor, patches: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:  # (B*N*M, inner), (B*(N+1), dim)
        pixels = pixels + self.drop_path_in1(self.attn_in(self.norm_in(pixels), masks), masks)
        pixels = pixels + self.drop_path_in2(self.mlp_in(self.norm_mlp_in(pixels), masks), masks)
        x = pixels.reshape(self.flat)  # (B*N, M*inner)
        x = self.norm2_proj(self.proj(self.norm1_proj(x)))  # (B*N, dim)
        x = self.prepend_zeros(x.reshape(self.patch_tokens))  # (B, N+1, dim), zero for the class token
        patches = patches + x.reshape(self.rows)  # (B*(N+1), dim)
        patches = patches + self.drop_path1(self.attn_out(self.norm_out(patches), masks), masks)
        patches = patches + self.drop_path2(self.mlp(self.norm_mlp(patches), masks), masks)
        return pixels, patches


class TNT(Classifier):
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
        inner, dim = config.inner_dim, config.dim
        self.flat = (-1, config.pixels * inner)
        self.patch_tokens = (-1, config.patches, dim)
        self.tokens = (-1, config.patches + 1, dim)
        self.pixel_embed = PixelEmbed(config)
        pixel_positions = np.zeros((1, inner, config.pixel_grid, config.pixel_grid), np.float32)
        self.pixel_pos = Parameter(Tensor(pixel_positions), name="pixel_pos")
        self.norm1_proj = layers.layer_norm(config.pixels * inner, config.norm_eps)
        self.proj = layers.linear(config.pixels * inner, dim)
        self.norm2_proj = layers.layer_norm(dim, config.norm_eps)
        self.cls_token = Parameter(Tensor(np.zeros((1, 1, dim), np.float32)), name="cls_token")
        positions = np.zeros((1, config.patches + 1, dim), np.float32)
        self.patch_pos = Parameter(Tensor(positions), name="patch_pos")
        self.add_class_token = AddClassToken(config.patches, dim)
        self.pos_drop = Dropout(drop, layout, config.patches + 1, dim)
        rates = np.linspace(0, drop_path, config.depth)  # stochastic depth grows with depth
        blocks = [Block(config, layers, layout, drop, float(rate)) for rate in rates]
        self.blocks = nn.CellList(blocks)
        self.norm = layers.layer_norm(dim, config.norm_eps)
        self.head = layers.linear(dim, num_classes)

    def construct(self, images: Tensor, masks: Tensor | None = None) -> Tensor:  # (B, 3, H, W)
        pixels = self.pixel_embed(images, self.pixel_pos)  # (B*N*M, inner)
        x = self.norm1_proj(pixels.reshape(self.flat))  # (B*N, M*inner)
        x = self.norm2_proj(self.proj(x)).reshape(self.patch_tokens)  # (B, N, dim)
        patches = self.add_class_token(x, self.cls_token, self.patch_pos)  # (B*(N+1), dim)
        patches = self.pos_drop(patches, masks)
        for block in self.blocks:
            pixels, patches = block(pixels, patches, masks)
        x = patches.reshape(self.tokens)[:, 0]  # (B, dim), the class token
        return self.head(self.norm(x))  # (B, num_classes)
