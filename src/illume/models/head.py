"""Hidden states to logits, and to the loss, over a vocabulary in two parameters.

It does not know what an id means. The loss is computed in here so that nothing outside touches a sharded weight.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.models.cross_entropy import linear_cross_entropy
from illume.models.embedding import SplitRows


class SplitHead(SplitRows):
    """The output rows: logits are products with `text` and with the vision rows, ids in that order."""

    def tie_text(self, text: nn.Parameter) -> None:
        """Share the text rows with an embedding."""
        self.text = text

    def forward(
        self,
        hidden: Float[Tensor, "m d"],
        targets: Int[Tensor, " m"],
        chunk: int = 2048,
        among: range | None = None,
    ) -> Float[Tensor, " m"]:
        """Cross-entropy in nats, float32, of every position; `among`: of a run of two vision ids or more alone, which
        the targets are of.

        Logits are made `chunk` positions at a time and never kept: the backward pass makes them again.
        """
        if among is None:
            return linear_cross_entropy(hidden, targets, self.text, self.vision_rows(), chunk)
        split = self.text.shape[0]
        rows = self.vision_rows()[among.start - split : among.stop - split]
        if among.start < split or among.step != 1 or len(rows) != len(among) or len(among) < 2:
            raise ValueError(f"{among} is not a run of two vision ids or more of [{split}, {split + len(self.vision)})")
        return linear_cross_entropy(hidden, targets - among.start, rows[:1], rows[1:], chunk)

    loss = forward

    def logits(self, hidden: Float[Tensor, "*b d"], rows: range | None = None) -> Float[Tensor, "*b v"]:
        """Logits of the ids in `rows` (None: of all), multiplying with no other row. ValueError for foreign rows."""
        split, size = self.text.shape[0], self.text.shape[0] + self.vision.shape[0]
        rows = range(size) if rows is None else rows
        if rows.step != 1 or not 0 <= rows.start < rows.stop <= size:
            raise ValueError(f"{rows} is not a run of ids of the vocabulary [0, {size})")
        blocks = []
        if rows.start < split:
            blocks.append(F.linear(hidden, self.text[rows.start : rows.stop]))
        if rows.stop > split:
            blocks.append(F.linear(hidden, self.vision_rows()[max(rows.start - split, 0) : rows.stop - split]))
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)
