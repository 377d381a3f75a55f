"""ViT's stem: an image becomes one token for each patch."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from vitmodels.archs import ModelConfig
from vitmodels.nets.layers.convolution import ConvolutionWeights
from vitmodels.nets.layers.patches import CutPatches


class PatchEmbed(nn.Cell):
    """A convolution whose kernel and stride are the patch, which is one matrix product over patches."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cut = CutPatches(config.grid, config.patch_size)
        self.proj = ConvolutionWeights(3, config.dim, config.patch_size)
        self.tokens = (-1, config.patches, config.dim)
        self.matmul = ops.MatMul(transpose_b=True)
        self.bias_add = ops.BiasAdd()

    def construct(self, images: Tensor) -> Tensor:  # (B, 3, H, W)
        weight, bias = self.proj()
        x = self.bias_add(self.matmul(self.cut(images), weight), bias)  # (B*N, dim)
        return x.reshape(self.tokens)  # (B, N, dim)
