"""The vision transformers of Qwen2-VL and Qwen2.5-VL, whose patches stand in an order of their own, read row by row.

It does not know which features are wanted, nor how pixels are normalised.
"""

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

Grid = tuple[int, int]
# The module of transformers and the class in it, by model type.
QWEN_MODELS = {
    "qwen2_vl_vision": ("models.qwen2_vl.modeling_qwen2_vl", "Qwen2VisionTransformerPretrainedModel"),
    "qwen2_5_vl_vision": ("models.qwen2_5_vl.modeling_qwen2_5_vl", "Qwen2_5_VisionTransformerPretrainedModel"),
}
WHERE_IN_WHOLE = r"^(model\.)?visual\."  # the prefix of its weights in a checkpoint of the whole model


@dataclass(frozen=True)
class QwenOutput:
    """`last_hidden_state` and `hidden_states` row-major over the patches, `merged` over cells of 2x2 of them."""

    last_hidden_state: Float[Tensor, "b _ _"]
    hidden_states: tuple[Float[Tensor, "b _ _"], ...]
    merged: Float[Tensor, "b _ _"]


def is_qwen(config: Any) -> bool:
    """Whether this is the configuration of one of these transformers."""
    return config.model_type in QWEN_MODELS


def feature_width(config: Any) -> int:
    """The width of a patch's feature. (Qwen2-VL calls the merged width `hidden_size`.)"""
    return int(config.embed_dim if config.model_type == "qwen2_vl_vision" else config.hidden_size)


def merged_width(config: Any) -> int:
    """The width of what the model's own merger gives: the language model's it was trained with."""
    return int(config.hidden_size if config.model_type == "qwen2_vl_vision" else config.out_hidden_size)


def read_qwen(model: Any, pixels: Float[Tensor, "b 3 h w"], inner: bool) -> QwenOutput:
    """The features of normalised images, which divide into merged cells; `inner`: those of every layer too."""
    config = model.config
    size, merge = config.patch_size, config.spatial_merge_size
    grid = (pixels.shape[2] // size, pixels.shape[3] // size)
    many = pixels.shape[0]
    patches = rearrange(pixels, "b c (r p) (s q) -> b (r s) c p q", p=size, q=size)
    patches = patches[:, patch_order(grid, merge).to(pixels.device)]
    frames = repeat(patches, "b n c p q -> (b n) (c t p q)", t=config.temporal_patch_size)  # a still picture: t times
    grids = torch.tensor([[1, *grid]] * many, device=pixels.device)
    output = model(frames, grids, output_hidden_states=inner)
    places = patch_order(grid, merge, _window(config)).argsort().to(pixels.device)

    def row_major(hidden: Tensor) -> Tensor:
        return rearrange(hidden, "(b n) d -> b n d", b=many)[:, places]

    return QwenOutput(
        row_major(output.last_hidden_state),
        tuple(map(row_major, output.hidden_states)) if inner else (),
        rearrange(output.pooler_output, "(b n) d -> b n d", b=many),
    )


def patch_order(grid: Grid, merge: int, window: int | None = None) -> Int[Tensor, " n"]:
    """The row-major number of each patch in the order in which the model holds them.

    Cells of merge x merge patches, row-major, and the patches of a cell together; with a `window` the cells of a window
    of so many cells a side together, windows row-major (Qwen2.5-VL's attention within windows).
    """
    numbers = torch.arange(grid[0] * grid[1])
    cells = rearrange(numbers, "(r i s j) -> r s (i j)", i=merge, r=grid[0] // merge, j=merge, s=grid[1] // merge)
    if window is None:
        return cells.flatten()
    rows = [(r, s) for r in range(cells.shape[0]) for s in range(cells.shape[1])]
    ordered = sorted(rows, key=lambda at: (at[0] // window, at[1] // window, at))
    return torch.cat([cells[at] for at in ordered])


def _window(config: Any) -> int | None:
    """The side of an attention window in merged cells; None where every patch sees every other."""
    size = getattr(config, "window_size", None)
    return None if size is None else size // config.spatial_merge_size // config.patch_size
