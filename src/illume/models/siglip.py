"""SigLIP's vision transformer (Zhai et al. 2023) without its pooling head, under the names transformers has for it.

It does not know how pixels are normalised, nor what its features are for. transformers reads what is saved of it, and
gives the same numbers; it is written out here because importing that library takes longer than drawing a picture.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from illume.core.errors import ModelError
from illume.models.layers import attention, lower, silence

MODEL_TYPE = "siglip_vision_model"
_TRUNCATED = 0.8796  # the deviation of a normal cut at two deviations, which SigLIP's start makes up for
GELU = {"gelu_pytorch_tanh": "tanh", "gelu": "none"}  # transformers' names, and torch's for its approximation


@dataclass(frozen=True)
class SiglipShape:
    """Its sizes, under transformers' names; images are square, of `image_size` pixels a side."""

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_channels: int = 3
    layer_norm_eps: float = 1e-6
    hidden_act: str = "gelu_pytorch_tanh"

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ModelError(f"a width of {self.hidden_size} is not a multiple of {self.num_attention_heads} heads")
        if self.hidden_act not in GELU:
            raise ModelError(f"SigLIP with {self.hidden_act!r} is not known here, only with {' or '.join(GELU)}")

    @property
    def side(self) -> int:
        """How many patches lie side by side."""
        return self.image_size // self.patch_size

    @property
    def model_type(self) -> str:
        return MODEL_TYPE


def shape_of(plain: Mapping[str, Any]) -> SiglipShape:
    """The sizes in a configuration of transformers, as plain data. ModelError where one of them is missing."""
    known = [field.name for field in fields(SiglipShape)]
    if plain.get("attention_dropout"):
        raise ModelError(f"a SigLIP with attention_dropout {plain['attention_dropout']}: this one drops nothing")
    try:
        return SiglipShape(**{name: plain[name] for name in known})
    except KeyError as error:
        raise ModelError(f"a SigLIP vision model without {error}") from error


def plain_shape(shape: SiglipShape) -> dict[str, Any]:
    """The inverse of `shape_of`: a configuration that transformers reads."""
    fixed = {"model_type": MODEL_TYPE, "attention_dropout": 0.0, "vision_use_head": False}
    return dict(sorted((asdict(shape) | fixed).items()))


class SiglipOutput(NamedTuple):
    """The normed last features, and what entered the first layer and left each one."""

    last_hidden_state: Float[Tensor, "b n d"]
    hidden_states: tuple[Float[Tensor, "b n d"], ...]


class SiglipVision(nn.Module):
    """Patches with learned places, through pre-norm layers that look in both directions, normed at the end.

    It starts as SigLIP does, but its layers as the identity (faster).
    """

    def __init__(self, config: SiglipShape) -> None:
        super().__init__()
        self.config = config
        self.embeddings = SiglipEmbeddings(config)
        self.encoder = SiglipLayers(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels: Float[Tensor, "b c h w"]) -> SiglipOutput:
        """Features row-major over the patches of normalised pixels, of whichever size they divide."""
        hidden = self.encoder(self.embeddings(pixels))
        return SiglipOutput(self.post_layernorm(hidden[-1]), hidden)


class SiglipEmbeddings(nn.Module):
    """One vector a patch, and one for its place."""

    def __init__(self, config: SiglipShape) -> None:
        super().__init__()
        width = config.hidden_size
        self.side = config.side
        self.patch_embedding = nn.Conv2d(config.num_channels, width, config.patch_size, config.patch_size)
        self.position_embedding = nn.Embedding(config.side**2, width)
        fan_in = config.num_channels * config.patch_size**2
        nn.init.normal_(self.patch_embedding.weight, std=fan_in**-0.5 / _TRUNCATED)
        nn.init.zeros_(self.patch_embedding.get_parameter("bias"))
        nn.init.normal_(self.position_embedding.weight, std=width**-0.5)

    def forward(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        patches = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))
        places = self._places((patches.shape[2], patches.shape[3]))
        return rearrange(patches, "b d r q -> b (r q) d") + places

    def _places(self, grid: tuple[int, int]) -> Float[Tensor, "n d"]:
        """The learned places; on another grid than theirs, what lies between them."""
        learned = self.position_embedding.weight
        if grid == (self.side, self.side):
            return learned
        square = rearrange(learned, "(r q) d -> 1 d r q", r=self.side)
        return rearrange(F.interpolate(square, grid, mode="bicubic", align_corners=False), "1 d r q -> (r q) d")


class SiglipLayers(nn.Module):
    """Layers, one after the other."""

    def __init__(self, config: SiglipShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SiglipLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Float[Tensor, "b n d"]) -> tuple[Float[Tensor, "b n d"], ...]:
        """What enters the first layer and what leaves each one."""
        hidden = [x]
        for layer in self.layers:
            hidden.append(layer(hidden[-1]))
        return tuple(hidden)


class SiglipLayer(nn.Module):
    """Attention, then two linear maps around a GELU, each added to what came in."""

    def __init__(self, config: SiglipShape) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = SiglipAttention(config.hidden_size, config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = SiglipMLP(config.hidden_size, config.intermediate_size, GELU[config.hidden_act])

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class SiglipAttention(nn.Module):
    """Every patch looks at every patch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj = (_linear(width, width) for _ in range(3))
        self.out_proj = silence(nn.Linear(width, width))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        x = lower(x)
        q, k, v = (
            rearrange(projection(x), "b n (h e) -> b h n e", h=self.heads)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(rearrange(attention(q, k, v), "b h n e -> b n (h e)"))


class SiglipMLP(nn.Module):
    """Linear, GELU (`approximation`: torch's name for how), Linear."""

    def __init__(self, width: int, hidden: int, approximation: str) -> None:
        super().__init__()
        self.approximation = approximation
        self.fc1 = _linear(width, hidden)
        self.fc2 = silence(nn.Linear(hidden, width))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximation))


def _linear(width_in: int, width_out: int) -> nn.Linear:
    """As SigLIP's start (Glorot and Bengio 2010)."""
    linear = nn.Linear(width_in, width_out)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
