"""Pictures and texts to vectors that can be compared, by the towers a run trained; it does not know which."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange

from illume.eval.task import Picture
from illume.models.vision_encoder import VisionEncoder
from illume.train.encoder_objective import Contrast, caption_ids

Vectors = npt.NDArray[np.float32]  # [n, d], of unit length
_TOGETHER = 64


class TowerEmbedder:
    """The contrastive towers of a run, with the encoder they were trained with.

    They have seen the run's training images and captions only: of held-out ones they know as little as the model.
    """

    def __init__(self, contrast: Contrast, encoder: VisionEncoder, tokenize: Callable[[str], list[int]]) -> None:
        self.device = next(encoder.parameters()).device
        self.contrast = contrast.to(self.device).eval()
        self.encoder = encoder
        self.tokenize = tokenize

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Vectors:
        """DataError for a text longer than the text tower reads."""
        ids = caption_ids(texts, self.tokenize, self.contrast.config.context).to(self.device)
        return np.concatenate([self.contrast.embed_text(part).cpu().numpy() for part in ids.split(_TOGETHER)])

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Picture]) -> Vectors:
        found = []
        for start in range(0, len(pictures), _TOGETHER):
            array = np.stack(pictures[start : start + _TOGETHER]).astype(np.float32) / 127.5 - 1
            pixels = rearrange(torch.from_numpy(array), "b h w c -> b c h w").to(self.device)
            found.append(self.contrast.embed_image(pixels, self.encoder).cpu().numpy())
        return np.concatenate(found)
