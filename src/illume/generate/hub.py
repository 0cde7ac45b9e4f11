"""Model folders to the Hugging Face hub and from it; it does not know what is in them."""

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from illume.core.errors import ModelError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # OWNER/MODEL
PICKLES = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"]


def is_name(text: str) -> bool:
    """Whether a text may name a model of the hub, OWNER/MODEL, and names nothing on this machine."""
    return _NAME.fullmatch(text) is not None and not Path(text).exists()


def download(name: str) -> Path:
    """The folder of a model of the hub, fetched where it is not here yet. ModelError where there is none."""
    from huggingface_hub import snapshot_download  # where it is wanted: it takes long to import

    try:
        return Path(snapshot_download(name, ignore_patterns=PICKLES))
    except Exception as error:  # the hub's errors have many classes; each means that there is no such model here
        raise ModelError(f"{name}: neither a folder nor a model that the hub gives: {error}") from error


def push(save: Callable[[Path], None], name: str, private: bool, token: str | None) -> str:
    """Put the folder that `save` writes into a repository, made if need be, in one commit; the commit's address.

    ModelError where the hub refuses it, with what it said.
    """
    from huggingface_hub import HfApi

    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r}: a repository is named OWNER/MODEL")
    with TemporaryDirectory() as temp:
        folder = Path(temp) / name.partition("/")[2]  # its name stands in the model card
        save(folder)
        try:
            api = HfApi(token=token)
            api.create_repo(name, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload an ILLUME model"))
        except Exception as error:  # as above: many classes, one meaning
            raise ModelError(f"{name}: the hub did not take the model: {error}") from error
