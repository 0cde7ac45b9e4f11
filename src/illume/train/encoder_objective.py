"""Training a vision encoder from captioned images: agree with the text, and remember the pixels.

It knows neither the captions' words nor the optimiser; its text tower and pixel head are of no use to other stages,
but the text tower also ranks captions against pictures (`embed_text`, `embed_image`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.core.config import from_dict, to_dict
from illume.core.errors import DataError
from illume.core.files import write_json
from illume.core.tensors import load_tensors, save_tensors
from illume.data.collate import ImageBatch
from illume.models.folder import read_config
from illume.models.layers import Block
from illume.models.vision_encoder import VisionEncoder
from illume.train.losses import sigmoid_contrastive
from illume.train.objective import Loss

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ContrastConfig:
    """The text tower, `context` tokens at most, and what an error of the pixels weighs beside the contrastive loss."""

    text_size: int
    context: int = 64
    width: int = 128
    heads: int = 4
    hidden: int = 512
    layers: int = 2
    dim: int = 128
    pixel_weight: float = 20.0


class TextTower(nn.Module):
    """Token ids, padded with -1, to one vector a text: embedding, positions, blocks, mean over the tokens."""

    def __init__(self, config: ContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.text_size, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.hidden) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        nn.init.normal_(self.positions.weight, std=config.width**-0.5)

    def forward(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b d"]:
        length = ids.shape[1]
        real = ids >= 0
        x = self.embedding(ids.clamp_min(0)) + self.positions.weight[:length]
        for block in self.blocks:
            x = block(x, real[:, None, None, :].expand(-1, 1, length, -1))
        weight = real[..., None] / real.sum(dim=1, keepdim=True).clamp_min(1)[..., None]
        return (self.norm(x) * weight).sum(dim=1)


class Contrast(nn.Module):
    """What compares pictures with texts: text tower, a projection of each side, scale and bias of the scores."""

    def __init__(self, config: ContrastConfig, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        self.dims = dims
        self.text = TextTower(config)
        self.from_text = nn.Linear(config.width, config.dim)
        self.from_image = nn.Linear(sum(dims), config.dim)
        # SigLIP's start: temperature 1/10, and a bias that says no, for most pairs are one
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def embed_text(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b e"]:
        """Unit vectors of texts, whose token ids are padded with -1."""
        return F.normalize(self.from_text(self.text(ids)).float(), dim=-1)

    def embed_features(self, features: tuple[Float[Tensor, "b _ _"], ...]) -> Float[Tensor, "b e"]:
        """Unit vectors of images, from the mean of their features, levels side by side."""
        pooled = torch.cat([level.mean(dim=1) for level in features], dim=-1)
        return F.normalize(self.from_image(pooled).float(), dim=-1)

    def embed_image(self, pixels: Float[Tensor, "b 3 h w"], encoder: VisionEncoder) -> Float[Tensor, "b e"]:
        """Unit vectors of images, seen through the encoder this was trained with."""
        return self.embed_features(tuple(features for features, _ in encoder(pixels)))

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        plain = {"format_version": FORMAT_VERSION, "contrast": to_dict(self.config), "dims": list(self.dims)}
        write_json(Path(folder) / "config.json", plain)
        save_tensors(Path(folder) / "model.safetensors", self.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> "Contrast":
        """Read what `save` wrote."""
        plain = read_config(Path(folder) / "config.json", FORMAT_VERSION)
        config = from_dict(ContrastConfig, plain["contrast"], where=f"{folder}/config.json")
        contrast = cls(config, tuple(plain["dims"]))
        contrast.load_state_dict(load_tensors(Path(folder) / "model.safetensors"))
        return contrast.eval()


class PixelHead(nn.Module):
    """One linear map a level from a feature to the pixels under it."""

    def __init__(self, dims: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(dim, 3 * stride**2) for dim, stride in zip(dims, strides, strict=True))

    def forward(self, features: tuple[Float[Tensor, "b _ _"], ...], pixels: Float[Tensor, "b 3 h w"]) -> Tensor:
        """The mean squared error of the pixels, averaged over levels."""
        errors = []
        for project, level in zip(self.maps, features, strict=True):
            errors.append(F.mse_loss(project(level).float(), patches(pixels, level.shape[1])))
        return torch.stack(errors).mean()


def patches(pixels: Float[Tensor, "b 3 h w"], number: int) -> Float[Tensor, "b n p"]:
    """The image cut into `number` square patches, row-major, each flat."""
    stride = math.isqrt(pixels.shape[2] * pixels.shape[3] // number)
    return rearrange(pixels, "b c (r i) (q j) -> b (r q) (i j c)", i=stride, j=stride)


class EncoderObjective:
    """SigLIP's contrastive loss plus `pixel_weight` times the error of pixels read linearly from each feature.

    The first makes features mean what the captions say; the second keeps where and how, which captions leave out.
    """

    couples_batch = True

    def __init__(self, encoder: VisionEncoder, config: ContrastConfig, tokenize: Callable[[str], list[int]]) -> None:
        self.encoder = encoder
        self.config = config
        self.tokenize = tokenize
        self.contrast = Contrast(config, encoder.dims)
        self.pixel_head = PixelHead(encoder.dims, encoder.strides)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"encoder": self.encoder, "contrast": self.contrast, "pixel_head": self.pixel_head}

    def size(self, batch: ImageBatch) -> int:
        """The images: the contrastive part compares each with every text, of whatever process."""
        return len(batch.pixels)

    def loss(self, batch: ImageBatch) -> Loss:
        """DataError where a caption is longer than the text tower's context."""
        features = tuple(level for level, _ in self.encoder(batch.pixels))
        ids = caption_ids(batch.captions, self.tokenize, self.config.context).to(batch.pixels.device)
        longest = int((ids >= 0).sum(dim=1).max())
        contrastive = sigmoid_contrastive(
            self.contrast.embed_features(features),
            self.contrast.embed_text(ids[:, :longest]),
            ids,
            self.contrast.log_scale.exp(),
            self.contrast.bias,
        )
        pixel_mse = self.pixel_head(features, batch.pixels)
        metrics = {"contrastive": contrastive.detach(), "pixel_mse": pixel_mse.detach()}
        return Loss(contrastive + self.config.pixel_weight * pixel_mse, metrics)


def caption_ids(captions: Sequence[str], tokenize: Callable[[str], list[int]], context: int) -> Int[Tensor, "b t"]:
    """Token ids of captions, padded with -1 to `context`. DataError for an empty or a longer caption."""
    ids = torch.full((len(captions), context), -1)
    for row, caption in enumerate(captions):
        found = tokenize(caption)
        if not 0 < len(found) <= context:
            raise DataError(f"caption {caption!r} has {len(found)} tokens; the text tower reads 1 to {context}")
        ids[row, : len(found)] = torch.tensor(found)
    return ids
