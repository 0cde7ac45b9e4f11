"""Tensors in, tensors out: encoder, tokenizer, pixel decoder, language model."""

from illume.core import einops_torch

einops_torch.introduce()
