"""A loaded model as benchmarks see it: whole lists of questions in one batch, seeds by item; it scores nothing."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from illume.api import Illume, Request, Result
from illume.core.streams import seed_of
from illume.data.collate import SequenceBatch, collate
from illume.data.sample import sample_of
from illume.eval.task import Picture
from illume.generate.painting import Drawn
from illume.generate.shown import pixels_of, seen
from illume.tasks import prompts
from illume.train.lm_objective import predicted
from illume.vocab.format import render
from illume.vocab.messages import ImagePart, Message, TextPart

_ANSWER_IDS = 16  # an answer is a word or two: whoever says more is wrong
_CAPTION_IDS = 64
_ENCODED_TOGETHER = 64


class ModelSubject:
    """Asks a model with its own settings; the i-th item of a list has a seed of its own, keyed by (seed, what, i)."""

    def __init__(self, illume: Illume, seed: int = 0) -> None:
        self.illume = illume
        self.seed = seed

    def ask(self, pictures: Sequence[Picture | None], questions: Sequence[str], *, slices: int = 0) -> list[str]:
        """Answers to questions; what goes on for longer than any right answer is cut."""
        asked = zip(pictures, questions, strict=True)
        return self._texts(self._question(picture, question, slices) for picture, question in asked)

    def caption(self, pictures: Sequence[Picture]) -> list[str]:
        messages = prompts.caption(ImagePart(self.illume.frame, image="image"))
        return self._texts(self._text_request(messages, picture, _CAPTION_IDS) for picture in pictures)

    def draw(self, prompts: Sequence[str]) -> list[Picture]:
        requests = [self.illume.draw_request(text, self._seed("draw", i)) for i, text in enumerate(prompts)]
        return _arrays(self.illume.pictures(requests))

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
        asked = enumerate(zip(pictures, instructions, strict=True))
        requests = [self.illume.edit_request(picture, text, self._seed("edit", i)) for i, (picture, text) in asked]
        return _arrays(self.illume.pictures(requests))

    def inpaint(self, masked: Sequence[Picture], instructions: Sequence[str | None]) -> list[Picture]:
        asked = enumerate(zip(masked, instructions, strict=True))
        requests = [self.illume.inpaint_request(p, text, self._seed("inpaint", i)) for i, (p, text) in asked]
        return _arrays(self.illume.pictures(requests))

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        asked = zip(pictures, prompts, strict=True)
        return self._texts(self.illume.assess_request(picture, prompt) for picture, prompt in asked)

    @torch.inference_mode()
    def nats(self, texts: Sequence[str]) -> list[float]:
        model, nats = self.illume.parts.model, []
        for start in range(0, len(texts), _ENCODED_TOGETHER):
            batch = self._written(texts[start : start + _ENCODED_TOGETHER]).to(model.embedding.text.device)
            where = predicted(batch.loss_mask, batch.segments, batch.branches)
            hidden = model(batch.ids, batch.positions, segments=batch.segments, places=batch.places, wanted=where - 1)
            losses = batch.loss_mask.float().masked_scatter(
                batch.loss_mask, model.head(hidden, batch.ids.flatten()[where])
            )
            nats += losses.sum(dim=1).tolist()
        return nats

    @torch.inference_mode()
    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        tokenizer = self.illume.parts.tokenizer
        device = next(tokenizer.parameters()).device
        codes: list[tuple[tuple[int, ...], ...]] = []
        for start in range(0, len(pictures), _ENCODED_TOGETHER):
            pixels = torch.stack([self._pixels(picture) for picture in pictures[start : start + _ENCODED_TOGETHER]])
            levels = [rearrange(grid, "b h w -> b (h w)").tolist() for grid in tokenizer.encode(pixels.to(device))]
            codes += [tuple(map(tuple, image)) for image in zip(*levels, strict=True)]
        drawn = [Drawn(self.illume.frame, image, self._seed("reconstruct", i)) for i, image in enumerate(codes)]
        return _arrays(self.illume.painter.pictures(drawn))

    def _question(self, picture: Picture | None, question: str, slices: int) -> Request:
        if picture is not None:
            asked = prompts.ask(ImagePart(self.illume.frame, image="image"), question)
            messages, pixels = seen(asked, {"image": picture}, self.illume.parts.image_size, slices)
            return self.illume.request("ask", messages, pixels, max_new_text=_ANSWER_IDS)
        return self._text_request(prompts.chat([("user", question)]), None, _ANSWER_IDS)

    def _text_request(self, messages: Sequence[Message], picture: Picture | None, longest: int) -> Request:
        shown = {} if picture is None else {"image": self._pixels(picture)}
        sampling = {"text": self.illume.parts.generation.text}
        return Request(tuple(messages), "text", sampling=sampling, max_new_text=longest, images=shown)

    def _texts(self, requests: Iterable[Request]) -> list[str]:
        return [_words(result) for result in self.illume.run(requests)]

    def _written(self, texts: Sequence[str]) -> SequenceBatch:
        """Each text alone in a row of its own, as training shows plain text."""
        parts = self.illume.parts
        rendered = [render(prompts.text(text), parts.layout, parts.text) for text in texts]
        rows = [[sample_of(one, f"text[{number}]", "text")] for number, one in enumerate(rendered)]
        no_pictures: dict[str, Picture] = {}
        return collate(rows, no_pictures.__getitem__, num_levels=len(parts.layout.levels), size=parts.image_size)

    def _pixels(self, picture: Picture) -> Tensor:
        return pixels_of(self.illume.pixels(picture))

    def _seed(self, what: str, index: int) -> int:
        return seed_of("score", self.seed, what, index)


def _words(result: Result) -> str:
    return "".join(part.text for part in result.parts if isinstance(part, TextPart))


def _arrays(pictures: Iterable[Image.Image]) -> list[Picture]:
    return [np.asarray(picture) for picture in pictures]
