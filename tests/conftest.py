"""Shapes and types are checked while the tests run: jaxtyping and beartype over every package that handles tensors."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network is wrong

import pytest
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


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model, to be read alone."""
    from fixtures.tiny_model_folder import tiny_illume  # not before the hook above is installed

    where = tmp_path_factory.mktemp("saved") / "model"
    tiny_illume().save(where)
    return where


@pytest.fixture
def model_copy(saved_model: Path, tmp_path: Path) -> Path:
    """A folder of the same, to be written to."""
    return Path(shutil.copytree(saved_model, tmp_path / "model"))
