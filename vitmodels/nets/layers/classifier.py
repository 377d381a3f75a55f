"""What both nets have in common as seen from outside."""

from __future__ import annotations

from mindspore import nn

from vitmodels.archs import ModelConfig
from vitmodels.device.stochastic import MaskLayout
from vitmodels.nets.layers.choice import Operators
from vitmodels.nets.layers.convolution import ConvolutionWeights


class Classifier(nn.Cell):
    """Images (B, 3, H, W), normalised, to logits (B, num_classes). `operators` says what it computes with."""

    def __init__(self, config: ModelConfig, layout: MaskLayout, operators: Operators) -> None:
        super().__init__()
        self.config = config
        self.operators = operators
        self._layout = layout

    def mask_shape(self, batch: int) -> tuple[int, int] | None:
        """Shape of the uniform random numbers wanted as `masks`; None when nothing is random."""
        return (batch, self._layout.width) if self._layout.width else None

    def freeze_patch_embed(self) -> None:
        """Give the patch embedding no gradients. Call it before the net is compiled."""
        for _, cell in self.cells_and_names():
            if isinstance(cell, ConvolutionWeights):
                cell.frozen = True

    def update_parameters_name(self, prefix: str = "", recurse: bool = True) -> None:
        """Does nothing: parameters keep the names that checkpoints use, whatever cell holds the net."""
