"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", ICLR 2021), no extension needed.

A query looks at a few places of each level of a pyramid: offsets from where it stands and their
weights are read off the query itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

Pyramid = Sequence[torch.Tensor]
"""Maps (N, C, h, w) of several levels."""


class DeformableAttention(nn.Module):
    """Attention of queries over a pyramid, a fixed number of places a level and head.

    Attributes:
        heads: parts of the channels that look at places of their own.
        levels: of the pyramid.
        points: places a level and head.
    """

    def __init__(self, width: int = 256, heads: int = 8, levels: int = 4, points: int = 4) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)

    def project(self, pyramid: Pyramid) -> list[torch.Tensor]:
        """Project a pyramid once for any number of queries; (N * heads, C / heads, h, w) each."""
        values = []
        for level in pyramid:
            rows, width, height, breadth = level.shape
            value = self.value_proj(level.flatten(2).mT).mT
            by_head = value.reshape(rows * self.heads, width // self.heads, height, breadth)
            values.append(by_head.contiguous())
        return values

    def forward(
        self, query: torch.Tensor, references: torch.Tensor, values: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Answer queries.

        Args:
            query: (N, Q, C) with positions added.
            references: (N, Q, L, 2) x, y in [0, 1], from which offsets count in cells of a level;
                or (N, Q, L, 4) centre and size, from which they count in halves of the size.
            values: of ``project``, a level each.

        Returns:
            (N, Q, C).
        """
        rows, amount, width = query.shape
        shape = (rows, amount, self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
        centre = references[:, :, None, :, None, :2]
        if references.shape[-1] == 2:
            sizes = [(value.shape[3], value.shape[2]) for value in values]
            places = centre + offsets / query.new_tensor(sizes)[:, None]
        else:
            extent = references[:, :, None, :, None, 2:]
            places = centre + offsets * extent * (0.5 / self.points)
        # To (N * heads, Q, points, ...), as grid_sample wants them.
        grids = (2 * places - 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 1)
        shares = weights.permute(0, 2, 3, 1, 4).flatten(0, 1)
        found = query.new_zeros(rows * self.heads, width // self.heads, amount)
        for level, value in enumerate(values):
            seen = F.grid_sample(value, grids[:, level], align_corners=False)
            found += (seen * shares[:, level, None]).sum(-1)
        joined = found.view(rows, width, amount).mT
        answered: torch.Tensor = self.output_proj(joined)
        return answered
