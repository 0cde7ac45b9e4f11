"""The Python interface: load a model, then chat, draw, edit, assess, reconstruct, hold sessions.

One thing or hundreds at a time. It only says what is asked of the engine; it does not train, score or serve.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from einops import rearrange
from PIL import Image

from illume.core.device import pick_device, pick_dtype
from illume.core.errors import RequestError
from illume.core.streams import seed_of
from illume.generate.abilities import ANSWERING, Ability, Settings, one_of, request_of
from illume.generate.coded import Coder
from illume.generate.draw import Painter, drawn
from illume.generate.engine import Engine
from illume.generate.folder import Drawing, Generation, Parts, load_parts, save_parts
from illume.generate.hub import push
from illume.generate.named import model_folder
from illume.generate.painting import Drawn
from illume.generate.parallel import check_parallel
from illume.generate.request import Pixels, Request, Result, Sampling, Scale
from illume.generate.runner import row_bytes
from illume.generate.shown import Turn, conversation, fitted, pixels_of, seen
from illume.generate.tier import AUTO, check_strict, dtype_of, pick_tier
from illume.images import ops
from illume.images.given import ImageLike, opened, several
from illume.images.masks import Box, masked
from illume.images.masks import composite as paste
from illume.session.session import SAME, Session
from illume.session.turns import Answer, Conversation
from illume.tasks import prompts
from illume.tasks.verdict import Verdict
from illume.vocab.messages import ImageFrame, ImagePart, Message, TextPart

__all__ = [
    "Answer", "Drawing", "Generation", "Illume", "ImageLike", "Parts", "Request", "Result", "Sampling", "Session",
    "Turn", "load", "load_session",
]  # fmt: skip

_PAINTED_TOGETHER = 64


def load(
    name: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    strict: bool = False,
    tier: str = AUTO,
    parallel: int = 0,
) -> "Illume":
    """The model of a folder, its own or its run's, one that comes with ILLUME ("nano"), or one of the hub.

    `strict`: everything that is asked at once gives bit for bit what it gives alone; slower. `tier`: how fast and how
    exactly it writes, "fp32", "bf16", "int8", "int4-compiled"... (docs/speed.md); "auto" is its dtype. `parallel`: so
    many codes of an image are drafted ahead (docs/parallel.md). ModelError where it is no model, incomplete, or of
    another format or version.
    """
    where = pick_device(device)
    kind = pick_dtype(dtype, where) if dtype != "auto" else dtype_of(tier) or pick_dtype(dtype, where)
    pick_tier(tier, where, kind)  # before the model is read
    if strict:
        check_strict(tier)
    check_parallel(parallel, strict)
    folder = model_folder(name)
    return Illume(load_parts(folder, where, kind), folder=folder, strict=strict, tier=tier, parallel=parallel)


def load_session(path: str | Path, model: "Illume | str | Path") -> Session:
    """A saved session, to go on with by a model: the one it was held with, or one that shares its vocabulary."""
    return Session.load(path, model if isinstance(model, Illume) else load(model))


class Illume:
    """A model ready to be used. `parts` are its networks and settings; `folder` is where it was loaded from."""

    def __init__(
        self, parts: Parts, *, folder: Path | None = None, strict: bool = False, tier: str = AUTO, parallel: int = 0
    ) -> None:
        self.parts = parts
        self.folder = folder
        self.strict = strict
        self.tier = tier
        self.parallel = parallel
        self.frame = ImageFrame(parts.tokenizer.grids(parts.image_size))
        self.painter = Painter(
            parts.tokenizer,
            parts.pixel_decoder,
            steps=parts.pixel_decoder.steps,
            guidance=parts.generation.paint_guidance,
            together=1 if strict else _PAINTED_TOGETHER,
            dtype=parts.model.embedding.text.dtype,
        )
        self._engine: tuple[int, Engine] | None = None

    def save(self, folder: str | Path) -> None:
        """Write the whole model folder, or nothing; an older model there is replaced, nothing else is."""
        save_parts(folder, self.parts)

    def push_to_hub(self, name: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the model folder to the repository OWNER/MODEL of the hub, made if need be; the commit's address.

        token: None is the one that `hf auth login` has kept.
        """
        return push(lambda folder: save_parts(folder, self.parts), name, private, token)

    @overload
    def chat(
        self, question: str | Sequence[Message], images: Any = ..., *, history: Sequence[Turn] = ...,
        mode: Literal["text"] = ..., seed: int = ..., temperature: float | None = ..., max_new_text: int | None = ...,
        slices: int = ...,
    ) -> str: ...  # fmt: skip

    @overload
    def chat(
        self, question: str | Sequence[Message], images: Any = ..., *, history: Sequence[Turn] = ...,
        mode: Literal["auto"], seed: int = ..., temperature: float | None = ..., max_new_text: int | None = ...,
        slices: int = ...,
    ) -> list[str | Image.Image]: ...  # fmt: skip

    def chat(
        self,
        question: str | Sequence[Message],
        images: Sequence[ImageLike] | Mapping[str, ImageLike] = (),
        *,
        history: Sequence[Turn] = (),
        mode: Literal["text", "auto"] = "text",
        seed: int = 0,
        temperature: float | None = None,
        max_new_text: int | None = None,
        slices: int = 0,
    ) -> str | list[str | Image.Image]:
        """The answer to a question about images, or to whole messages (then `images` is by the names in their parts).

        mode "text" answers in words; "auto" also draws, and the answer is a list of texts and pictures.
        `slices`: images are read in detail, each as an overview and at most so many slices of the model's image size
        (ILLUME, stage 3: 9), for a model that was trained so; in words only, for drawings are of the base size.
        """
        ability = ANSWERING[one_of(mode, ANSWERING, "mode")]
        if slices < 0 or (slices and mode == "auto"):
            raise RequestError(f"slices ({slices}) is a number of slices, 0 or more, for answers in words: mode 'text'")
        given = images if isinstance(images, Mapping) else several(images)
        said, shown = conversation(question, given, history, self.frame)
        messages, pixels = seen(said, shown, self.parts.image_size, slices)
        settings: dict[str, Any] = {"temperature": temperature, "max_new_text": max_new_text}
        (result,) = self.run([self.request(ability, messages, pixels, seed, **settings)])
        return result.text if mode == "text" else self.shown(result, seed)

    def session(
        self, path: str | Path | None = None, *, seed: int | None = None, memory: int | None = SAME, slices: int = 0
    ) -> Session:
        """A conversation to hold with this model: a new one, or a saved one to go on with.

        `memory` is how many earlier turns an answer sees (None: all; left out: as the model's folder says); `slices` as
        in `chat`. A saved session brings its own seed, memory and slices.
        """
        if path is None:
            seen = self.parts.generation.memory if memory is SAME else memory
            return Session(self, Conversation(seed or 0, seen, slices=slices))
        if seed is not None or memory is not SAME or slices:
            raise RequestError("a saved session has its seed, memory and slices: load it, then branch(memory=...)")
        return Session.load(path, self)

    def draw(self, prompt: str | Sequence[str], n: int = 1, seed: int = 0, **settings: Any) -> list[Image.Image]:
        """`n` pictures of each prompt, in the order of the prompts.

        The i-th picture of a prompt has seed `seed + i`. settings: guidance (a scale, or one for each level),
        temperature, top_k, top_p; None or left out is the model's own.
        """
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        return self.pictures([self.draw_request(text, seed + i, **settings) for text in texts for i in range(n)])

    def edit(
        self,
        image: ImageLike,
        instruction: str | None,
        n: int = 1,
        seed: int = 0,
        *,
        mask: ImageLike | Box | None = None,
        composite: bool = True,
        **settings: Any,
    ) -> list[Image.Image]:
        """`n` versions of an image, changed as told; seeds and settings as in `draw`.

        With a mask of the image's size (white, or inside a box of left, top, right, bottom) that region alone is
        painted anew, as told or, where instruction is None, so that it fits. Outside of it the pixels stay what they
        are at the model's size; with `composite=False` they are those that the model drew.
        """
        if mask is None:
            if instruction is None:
                raise RequestError("say what to change, or give a mask of what is to be painted anew")
            pixels = self.pixels(image)
            return self.pictures([self.edit_request(pixels, instruction, seed + i, **settings) for i in range(n)])
        whole = opened(image)
        part = masked(whole, mask if isinstance(mask, tuple) else opened(mask), self.parts.image_size)
        asked = [self.inpaint_request(part.shown, instruction, seed + i, **settings) for i in range(n)]
        drawn = self.pictures(asked)
        return [paste(part.kept, one, part.region) for one in drawn] if composite else drawn

    def assess(self, image: ImageLike, prompt: str) -> Verdict:
        """Whether an image shows what a prompt asks. DataError where the model's answer is no verdict."""
        (result,) = self.run([self.assess_request(image, prompt)])
        return Verdict.from_json(result.text)

    @torch.inference_mode()
    def reconstruct(self, image: ImageLike, seed: int = 0) -> Image.Image:
        """What the vision tokenizer and the pixel decoder keep of an image: pixels to codes and back."""
        device = next(self.parts.tokenizer.parameters()).device
        grids = self.parts.tokenizer.encode(pixels_of(self.pixels(image))[None].to(device))
        codes = tuple(tuple(rearrange(grid, "1 h w -> (h w)").tolist()) for grid in grids)
        return self.painter.pictures([Drawn(self.frame, codes, seed_of("paint", seed))])[0]

    def run(self, requests: Iterable[Request]) -> list[Result]:
        """Answer requests in one batch, in their order."""
        wanted = list(requests)
        rows = sum(2 if request.guided else 1 for request in wanted)
        try:
            return self._engine_for(rows).run(wanted) if wanted else []
        except BaseException:  # Ctrl-C too: an engine stopped half-way still holds what it was doing
            self._engine = None
            raise

    def pictures(self, requests: Iterable[Request]) -> list[Image.Image]:
        """The pictures that requests draw, one each; RequestError for one that draws none or several."""
        wanted = list(requests)
        results = zip(wanted, self.run(wanted), strict=True)
        return self.painter.pictures([drawn(result, request.seed) for request, result in results])

    def draw_request(self, prompt: str, seed: int = 0, **settings: Any) -> Request:
        """What `draw` asks, for `run` and `pictures`."""
        return self.request("draw", prompts.draw(prompt), {}, seed, **settings)

    def edit_request(self, image: ImageLike, instruction: str, seed: int = 0, **settings: Any) -> Request:
        """What `edit` asks, for `run` and `pictures`."""
        messages = prompts.edit(ImagePart(self.frame, image="source"), instruction)
        return self.request("edit", messages, {"source": pixels_of(self.pixels(image))}, seed, **settings)

    def inpaint_request(
        self, shown: ImageLike, instruction: str | None = None, seed: int = 0, **settings: Any
    ) -> Request:
        """What `edit` with a mask asks, for `run` and `pictures`; the image has its region marked (images/masks.py)."""
        messages = prompts.inpaint(ImagePart(self.frame, image="source"), instruction)
        return self.request("edit", messages, {"source": pixels_of(self.pixels(shown))}, seed, **settings)

    def ask_request(self, image: ImageLike, question: str, max_new_text: int | None = None) -> Request:
        """A question about an image, for `run`; the answer is the result's `text`."""
        messages = prompts.ask(ImagePart(self.frame, image="image"), question)
        return self.request("ask", messages, {"image": pixels_of(self.pixels(image))}, max_new_text=max_new_text)

    def assess_request(self, image: ImageLike, prompt: str) -> Request:
        """What `assess` asks, for `run`."""
        messages = prompts.assess(ImagePart(self.frame, image="image"), prompt)
        return self.request("assess", messages, {"image": pixels_of(self.pixels(image))})

    def request(
        self,
        ability: Ability,
        messages: Sequence[Message],
        images: Mapping[str, Pixels],
        seed: int = 0,
        *,
        guidance: Scale | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        max_new_text: int | None = None,
    ) -> Request:
        """What is asked for by whole messages, `images` by the names in their parts; None is the model's own value.

        "say": words and pictures; "draw" and "edit": one picture; "ask" and "assess": words. RequestError for a setting
        that this ability has no use for.
        """
        settings = Settings(guidance, temperature, top_k, top_p, max_new_text)
        return request_of(ability, messages, images, seed, settings, self.frame, self.parts.generation)

    def shown(self, result: Result, seed: int) -> list[str | Image.Image]:
        """The parts of an answer as a person sees them; `seed` is its request's."""
        found: list[str | Image.Image] = []
        number = 0
        for part in result.parts:
            if isinstance(part, TextPart):
                found.append(part.text)
            elif isinstance(part, ImagePart):
                found.append(self._picture(part, result, seed_of("paint", seed, number)))
                number += 1
        return found

    def pixels(self, image: ImageLike) -> Image.Image:
        """An image as the model sees it: RGB, of its size. DataError for what is no image."""
        return fitted(image, self.parts.image_size)

    def engine(self, rows: int, *, max_length: int | None = None, **settings: Any) -> Engine:
        """An engine of its own for this model, to be stepped by whoever builds it; settings as in Engine."""
        own: dict[str, Any] = {
            "max_length": max_length or self.parts.generation.max_length,
            "paint": self._paint,
            "tokenize": Coder(self.parts.tokenizer) if self.parts.reading == "codes" else None,
            "strict": self.strict,
            "tier": self.tier,
            "parallel": self.parallel,
        }
        return Engine(self.parts.model, self.parts.layout, self.parts.text, rows=rows, **(own | settings))

    def row_bytes(self, max_length: int | None = None) -> int:
        """Bytes of memory that each row of an engine takes besides the weights."""
        weight = self.parts.model.embedding.text
        tier = None if self.strict else pick_tier(self.tier, weight.device, weight.dtype)
        return row_bytes(self.parts.model, max_length or self.parts.generation.max_length, tier)

    def _engine_for(self, rows: int) -> Engine:
        """The last engine if it has rows enough; so one picture does not pay for the memory of hundreds."""
        most = self.parts.generation.rows
        needed = max(2, min(rows, most))
        if self._engine is None or self._engine[0] < needed:
            tile = max(2, most) if self.strict else needed  # strict: one tile, whatever is asked
            self._engine = (tile, self.engine(tile))
        return self._engine[1]

    def _paint(self, drawn: Sequence[Drawn]) -> list[Pixels]:
        """What the model looks at when it has drawn: the picture a person sees, 8 bits a channel."""
        return [pixels_of(self.pixels(picture)) for picture in self.painter.pictures(drawn)]

    def _picture(self, part: ImagePart, result: Result, seed: int) -> Image.Image:
        if part.image is not None:
            return ops.from_pixels(result.images[part.image].numpy())
        assert part.codes is not None  # an answer's images are drawn
        return self.painter.pictures([Drawn(part.frame, part.codes, seed)])[0]
