"""Shapes and types are checked while the tests run: jaxtyping and beartype over every package that handles tensors."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network is wrong

import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook(["illume.models", "illume.train", "illume.generate"], "beartype.beartype")
torch.set_num_threads(int(os.environ.get("ILLUME_TEST_THREADS", "1")))  # one thread a worker: pytest runs several

# ILLUME_HYPOTHESIS=thorough looks longer. No deadline: how busy a machine is says nothing about the code.
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("quick", max_examples=40, deadline=None, suppress_health_check=SLOW)
settings.register_profile("thorough", max_examples=1000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("ILLUME_HYPOTHESIS", "quick"))
