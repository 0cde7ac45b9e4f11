"""The losses of the vision side as free functions of tensors; they know no model, no batch type and no optimiser."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from illume.core.dist import gather_rows


def sigmoid_contrastive(
    images: Float[Tensor, "b d"],
    texts: Float[Tensor, "b d"],
    captions: Int[Tensor, "b t"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """SigLIP's loss (Zhai et al. 2023), a mean over the images: each pair of an image and a text is a yes or a no.

    `images` and `texts` are unit vectors, `captions` the token ids the texts were made from: equal captions are a yes
    wherever they come from. Each process compares its images with the texts of all, so that together they compute the
    loss of the whole batch; `captions` therefore have one length everywhere.
    """
    texts, others = gather_rows(texts), gather_rows(captions)
    same = equal_rows(captions, others)
    logits = scale * images.float() @ texts.float().T + bias
    return -F.logsigmoid(torch.where(same, logits, -logits)).sum(dim=1).mean()


def equal_rows(a: Int[Tensor, "b t"], b: Int[Tensor, "c t"]) -> Bool[Tensor, "b c"]:
    """Which rows of `a` are which rows of `b`."""
    return (a[:, None] == b[None]).all(dim=-1)


def feature_loss(rebuilt: Float[Tensor, "b n d"], target: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
    """How far rebuilt features are off: 1 - cosine, plus smooth-L1 (ILLUME, section 3.1), a mean over features."""
    rebuilt, target = rebuilt.float(), target.float()
    return (1 - F.cosine_similarity(rebuilt, target, dim=-1)).mean() + F.smooth_l1_loss(rebuilt, target)
