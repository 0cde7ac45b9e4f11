"""Introduces einops to torch without torch's compiler. It does not change what einops does.

The first use of einops on a tensor registers it with torch.compile, for which it imports the compiler: a second and
more, and nothing here is compiled. From torch 2.8 on there is nothing to register, and einops 0.8.2 knows that; but it
compares versions as text, by which 2.10 is older. To be dropped when it compares numbers.
"""

import torch
from torch.torch_version import TorchVersion


def introduce() -> None:
    """Let einops' module for torch be imported while the version reads as one that needs no registration."""
    real = torch.__version__
    torch.__version__ = TorchVersion("2.8")
    try:
        import einops._torch_specific  # noqa: F401
    finally:
        torch.__version__ = real
