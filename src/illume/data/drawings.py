"""A prompt and the codes drawn for it as a sample; it does not know who drew, nor what the drawing is worth."""

from dataclasses import dataclass

from illume.core.errors import DataError
from illume.data.sample import Sample, sample_of
from illume.tasks import prompts
from illume.vocab.format import Reading, render
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImageFrame, ImagePart
from illume.vocab.text import TextFormat

DrawnCodes = tuple[tuple[int, ...], ...]  # row-major, one tuple a level


@dataclass(frozen=True)
class Drawings:
    """How drawings of one frame are written: as the engine was asked for them, and as it wrote them."""

    layout: VocabLayout
    text: TextFormat
    frame: ImageFrame
    reading: Reading = "features"

    def sample(self, prompt: str, codes: DrawnCodes, name: str) -> Sample:
        """The sample of one drawing. DataError, with its name, for codes that are not of this frame."""
        counts = [rows * columns for rows, columns in self.frame.grids]
        if [len(level) for level in codes] != counts:
            raise DataError(f"{name}: it has {[len(level) for level in codes]} codes a level, not {counts}")
        for level, size in zip(codes, self.layout.levels, strict=True):
            if not all(0 <= code < size for code in level):
                raise DataError(f"{name}: a code is not one of the {size} of its level")
        said = prompts.draw(prompt, ImagePart(self.frame, codes, image=name))
        return sample_of(render(said, self.layout, self.text, self.reading), name, "draw")
