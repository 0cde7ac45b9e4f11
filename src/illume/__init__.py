"""ILLUME: one language model that reads images, answers about them, draws and edits them, and judges what it drew.

Importing the package is instant: torch is imported only when a model is loaded.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from illume.api import Illume as Illume
    from illume.api import load as load
    from illume.api import load_session as load_session

__all__ = ["Illume", "__version__", "load", "load_session"]


def __getattr__(name: str) -> Any:
    """Import `load`, `load_session` and `Illume` on first use."""
    if name in ("load", "load_session", "Illume"):
        from illume import api

        return getattr(api, name)
    raise AttributeError(f"module 'illume' has no attribute {name!r}")
