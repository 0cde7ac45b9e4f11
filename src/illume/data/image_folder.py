"""Captioned images of a Hugging Face imagefolder as sources, with a held-out split; it knows no steps or batches."""

from pathlib import Path
from typing import Literal

from illume.core.errors import ConfigError, DataError
from illume.core.streams import seed_of
from illume.data.image_files import How, ImageFiles
from illume.data.metadata import Entry, read_image_folder
from illume.data.problems import OnInvalid, usable
from illume.data.records import Record
from illume.data.sources import Size, Split

FolderTask = Literal["caption", "draw", "reconstruct", "text"]


class ImageFolder:
    """A folder's usable entries and its images, shared by all sources made of it.

    Missing images are found at once, unreadable ones when first asked for; with `on_invalid="skip"` every image is
    decoded at once, and entries that cannot be used are left out and listed in `problems`.
    """

    def __init__(
        self,
        folder: Path,
        size: int | Size,
        *,
        how: How = "cover",
        name: str | None = None,
        test_fraction: float = 0.1,
        on_invalid: OnInvalid = "raise",
    ) -> None:
        listing = read_image_folder(folder, on_invalid)
        entries, self.problems = list(listing.entries), list(listing.problems)
        self.ignored_columns = listing.ignored_columns
        self.images = ImageFiles(folder, [entry.file for entry in entries], size, how=how, name=name)
        if on_invalid == "skip":
            entries, unreadable = usable(entries, lambda e: self.images.image(self.images.key(e.file)), on_invalid)
            self.problems += unreadable
            self.images = self.images.only([entry.file for entry in entries])
        self.folder, self.entries, self.test_fraction = folder, tuple(entries), test_fraction

    def split(self, split: Split) -> tuple[Entry, ...]:
        """The entries of a split. DataError if there are none."""
        wanted = split == "test"
        found = tuple(entry for entry in self.entries if is_test(entry.text, self.test_fraction) == wanted)
        if not found:
            raise DataError(f"{self.folder}: none of its {len(self.entries)} images falls into the split {split!r}")
        return found


class ImageFolderSource:
    """One split of an image folder as records of one task."""

    def __init__(self, folder: ImageFolder, split: Split, task: FolderTask, name: str | None = None) -> None:
        if task not in ("caption", "draw", "reconstruct", "text"):
            raise ConfigError(f"an image folder has no records of task {task!r}")
        self.name = name if name is not None else task
        self.images = folder.images
        self._task: FolderTask = task
        self._entries = folder.split(split)

    def __len__(self) -> int:
        return len(self._entries)

    def record(self, index: int) -> Record:
        """The record of entry `index`; its text is the caption also where the task leaves it unsaid."""
        entry = self._entries[index]
        images = () if self._task == "text" else (self.images.key(entry.file),)
        return Record(self._task, images=images, text=entry.text, where=entry.where)


def is_test(text: str, fraction: float) -> bool:
    """Whether a caption is held out: a hash of its words alone, so equal captions fall on one side, in every folder."""
    return seed_of("test", " ".join(text.casefold().split())) < fraction * 2**64
