"""The whole network, in its two sizes, under the names of the public weights files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from uosam.backends.semantic_sam.clicks import Predictor
from uosam.backends.semantic_sam.pixels import Encoded, PixelDecoder
from uosam.backends.semantic_sam.swin import Swin


@dataclass(frozen=True, kw_only=True)
class Size:
    """What differs between the networks.

    Attributes:
        width: channels of the first stage.
        depths: blocks of the four stages.
        heads: of their attention.
        window: side of a window, in cells.
    """

    width: int
    depths: Sequence[int]
    heads: Sequence[int]
    window: int


SIZES = {
    "semantic_sam_t": Size(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7),
    "semantic_sam_l": Size(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12),
}


class SemanticSam(nn.Module):
    """Backbone, pixel decoder and decoder of clicks."""

    def __init__(self, size: Size, *, encoder_layers: int = 6, decoder_layers: int = 9) -> None:
        super().__init__()
        self.backbone = Swin(size.width, size.depths, size.heads, size.window)
        self.sem_seg_head = nn.Module()
        self.sem_seg_head.pixel_decoder = PixelDecoder(size.width, encoder_layers)
        self.sem_seg_head.predictor = Predictor(decoder_layers)

    @property
    def predictor(self) -> Predictor:
        """The decoder of clicks."""
        found = self.sem_seg_head.get_submodule("predictor")
        assert isinstance(found, Predictor)
        return found

    def get_image_embeddings(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode one picture: all that a click needs to know of it.

        Args:
            pixels: (1, 3, Hp, Wp) normalised and then padded, sides multiples of 32.

        Returns:
            mask features (1, 256, Hp / 4, Wp / 4), then the pyramid at strides 64, 32, 16, 8.
        """
        # Only the backbone is as good in bfloat16; the published code says so, too.
        maps = [level.float() for level in self.backbone(pixels)]
        with torch.autocast(pixels.device.type, enabled=False):
            encoded: Encoded = self.sem_seg_head.get_submodule("pixel_decoder")(maps)
        return (encoded.mask_features, *encoded.pyramid)
