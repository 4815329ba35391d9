"""SAM's mask decoder, computed in fewer steps with the same result.

The decoder of Kirillov et al., "Segment Anything", 2023 (section A, "Lightweight mask decoder") has
few tokens (five outputs and the prompt's points) looking at many cells of the picture, and the
cells looking back. Written as published, almost all arithmetic goes into projecting the cells.
Three identities avoid most of it, and none of them approximates:

- Rows without a mask prompt enter the first layer with the same cells: those projections are made
  once per picture and kept with its embedding.
- With few tokens, q (K W)^T = (q W^T) K^T and P (V W) = (P V) W: the weights are absorbed into the
  tokens, and heads x T columns take the place of the projected width. A bias of the keys adds the
  same to all cells of a softmax, which cancels; a bias of the cells' queries adds a constant for
  each token; shares sum to one, so a bias of the values comes out as it is.
- The score of a mask is read from one token. Masks that its threshold drops are never upscaled.

A transposed convolution whose stride is its size is a matrix product for each cell, so that
upscaling needs no change of layout until the masks are finished.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from uosam.backends.sam.absorbed_cells import Cells, Picture
from uosam.backends.sam.tiny import detail_of_cells

_ROWS = 2  # at a time on a CPU, and one when masks are upscaled: more do not fit into its caches


class AbsorbedDecoder:
    """The mask decoder of one ``Sam``, made when its weights are in place.

    Attributes:
        dtype: of all that has the size of the picture; tokens and layer norms stay float32, for
            they are cheap.
    """

    def __init__(self, sam: Any, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self._decoder = sam.mask_decoder
        self._no_mask = sam.prompt_encoder.no_mask_embed.weight
        self._grid = sam.prompt_encoder.image_embedding_size
        self._positions = _in_rows(sam.prompt_encoder.get_dense_pe()).to(dtype)
        first, self._norm, self._act1, second, self._act2 = sam.mask_decoder.output_upscaling
        self._upscale1, self._upscale2 = _per_cell(first, dtype), _per_cell(second, dtype)
        self._show_detail = getattr(sam.mask_decoder, "detail", None)

    def prepare(self, features: torch.Tensor) -> Picture:
        """Project what all rows without a mask prompt share.

        Args:
            features: (1, C, h, w) float32, from the image encoder, with more channels where the
                decoder is shown detail.
        """
        cells = _in_rows(features[:, : self._width]) + self._no_mask
        placed = cells + self._positions
        layer = self._decoder.transformer.layers[0]
        tokens_look, cells_look = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token

        def split(projected: torch.Tensor) -> torch.Tensor:
            by_head = projected.view(len(cells), tokens_look.num_heads, -1).permute(1, 2, 0)
            return by_head.to(self.dtype).contiguous()

        return Picture(
            features=features,
            cells=cells.to(self.dtype),
            key=split(tokens_look.k_proj(placed)),
            value=split(tokens_look.v_proj(cells)).mT.contiguous(),
            query=split(cells_look.q_proj(placed)),
            detail=self._detail(features),
        )

    def decode(
        self,
        picture: Picture,
        sparse: torch.Tensor,
        dense: torch.Tensor | None,
        *,
        features: torch.Tensor | None = None,
        multimask: bool,
        min_score: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Answer B prompts, except those of which no mask reaches ``min_score``.

        Args:
            picture: from ``prepare``.
            sparse: (B, n, C) embedded points and corners of boxes.
            dense: (B, C, h, w) embedded masks, or None for rows without one.
            features: (B, C, h, w) of every row's own picture, where rows with a mask ask about
                several; None for those of ``picture``.
            multimask: outputs 1 to 3 or output 0.
            min_score: least estimated IoU, in [0, 1].

        Returns:
            logits (b, m, 4h, 4w) and scores (b, m), both float32, of the b rows that are left, and
            their indices (b,).
        """
        on_cpu = sparse.device.type == "cpu"
        outputs = slice(1, None) if multimask else slice(0, 1)
        step = _ROWS if on_cpu else len(sparse)
        found = []
        for start in range(0, len(sparse), step):
            rows = slice(start, start + step)
            source = None
            if dense is not None:
                seen = picture.features if features is None else features[rows]
                source = dense[rows] + seen[:, : self._width]
            tokens, cells = self._attend(picture, sparse[rows], source)
            scores = self._decoder.iou_prediction_head(tokens[:, 0])[:, outputs]
            left = (scores.clamp(0, 1) >= min_score).any(1).nonzero()[:, 0]
            for some in torch.split(left, 1 if on_cpu else len(left)):
                detail = picture.detail
                if features is not None:
                    detail = self._detail(features[some + start])
                logits = self._masks(tokens[some], cells[some], detail, outputs)
                found.append((logits, scores[some], some + start))
        logits, scores, left = (torch.cat(values) for values in zip(*found, strict=True))
        return logits, scores, left

    def _attend(
        self, picture: Picture, sparse: torch.Tensor, source: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Let tokens and cells look at each other; return (B, T, C) tokens and (B, N, C) cells."""
        decoder = self._decoder
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        prompt = torch.cat([outputs.expand(len(sparse), -1, -1), sparse], dim=1)
        tokens = prompt
        seen: Picture | Cells = picture
        if source is not None:
            seen = self._placed(source.flatten(2).mT.to(self.dtype))
        for layer in decoder.transformer.layers:
            if layer.skip_first_layer_pe:
                tokens = layer.self_attn(tokens, tokens, tokens)
            else:
                asking = tokens + prompt
                tokens = tokens + layer.self_attn(asking, asking, tokens)
            tokens = layer.norm1(tokens)
            tokens = tokens + seen.seen_by(layer.cross_attn_token_to_image, tokens + prompt)
            tokens = layer.norm2(tokens)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            cells = seen.looking_at(layer.cross_attn_image_to_token, tokens + prompt, tokens)
            seen = self._placed(layer.norm4(cells.float()).to(self.dtype))
        last = decoder.transformer.final_attn_token_to_image
        tokens = tokens + seen.seen_by(last, tokens + prompt)
        finished: torch.Tensor = decoder.transformer.norm_final_attn(tokens)
        return finished, seen.cells

    def _placed(self, cells: torch.Tensor) -> Cells:
        return Cells(cells=cells, placed=cells + self._positions)

    @property
    def _width(self) -> int:
        width: int = self._decoder.transformer_dim
        return width

    def _detail(self, features: torch.Tensor) -> torch.Tensor | None:
        """Return (B, 16 N, c) for ``_masks``, or None for a model without detail."""
        if self._show_detail is None:
            return None
        shown: torch.Tensor = self._show_detail(detail_of_cells(features[:, self._width :]))
        return shown.to(self.dtype)

    def _masks(
        self,
        tokens: torch.Tensor,
        cells: torch.Tensor,
        detail: torch.Tensor | None,
        outputs: slice,
    ) -> torch.Tensor:
        """Upscale (B, N, C) cells and read off the (B, m, 4h, 4w) logits of some outputs."""
        networks = list(enumerate(self._decoder.output_hypernetworks_mlps, start=1))[outputs]
        kernels = torch.stack([network(tokens[:, index]) for index, network in networks], dim=1)
        weight, bias = self._upscale1
        fine = torch.addmm(bias, cells.flatten(0, 1), weight).view(-1, len(bias) // 4)
        norm = self._norm
        fine = F.layer_norm(fine.float(), fine.shape[1:], norm.weight, norm.bias, norm.eps)
        weight, bias = self._upscale2
        fine = torch.addmm(bias, self._act1(fine.to(self.dtype)), weight)
        rows, count, (height, width) = len(tokens), len(networks), self._grid
        fine = fine.view(rows, 16 * height * width, len(bias) // 4)
        fine = self._act2(fine if detail is None else fine + detail)
        # Cell, quarter of a cell, quarter of a quarter: rows to rows, columns to columns.
        masks = (kernels.to(self.dtype) @ fine.mT).view(rows, count, height, width, 2, 2, 2, 2)
        masks = masks.permute(0, 1, 2, 4, 6, 3, 5, 7).float()
        logits: torch.Tensor = masks.reshape(rows, count, 4 * height, 4 * width)
        return logits


def _in_rows(grid: torch.Tensor) -> torch.Tensor:
    """Turn (1, C, h, w) into (h * w, C)."""
    return grid[0].flatten(1).mT.contiguous()


def _per_cell(convolution: Any, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (in, 4 * out) and bias (4 * out,) of a 2 x 2 convolution of stride 2."""
    weight = convolution.weight.detach().permute(0, 2, 3, 1).flatten(1)
    return weight.to(dtype).contiguous(), convolution.bias.detach().repeat(4).to(dtype)
