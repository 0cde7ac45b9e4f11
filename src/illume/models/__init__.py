"""Tensors in, tensors out: encoder, tokenizer, pixel decoder, language model."""
