"""Shapes and types are checked while the tests run: jaxtyping and beartype over every package that handles tensors."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network is wrong

import torch
from jaxtyping import install_import_hook

install_import_hook(["illume.models", "illume.train", "illume.generate"], "beartype.beartype")
torch.set_num_threads(int(os.environ.get("ILLUME_TEST_THREADS", "1")))  # one thread a worker: pytest runs several
