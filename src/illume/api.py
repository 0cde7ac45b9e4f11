"""The Python interface: load a model, then chat, draw, edit, assess, reconstruct, one thing or hundreds at a time.

It only says what is asked of the engine; it does not train, score or serve.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from illume.core.device import pick_device, pick_dtype
from illume.core.errors import DataError, ModelError, RequestError
from illume.core.streams import seed_of
from illume.generate.draw import Painter
from illume.generate.engine import Drawn, Engine
from illume.generate.folder import Drawing, Generation, Parts, load_parts, save_parts
from illume.generate.request import Request, Result, Sampling
from illume.images import ops
from illume.tasks import prompts
from illume.tasks.verdict import Verdict
from illume.vocab.messages import ImageFrame, ImagePart, Message, TextPart

__all__ = ["Drawing", "Generation", "Illume", "Parts", "Request", "Result", "Sampling", "Turn", "load"]

ImageLike: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
_PAINTED_TOGETHER = 64


@dataclass(frozen=True)
class Turn:
    """One exchange of a conversation: a question, the images that came with it, and the answer."""

    question: str
    images: tuple[ImageLike, ...]
    reply: str


def load(name: str | Path, device: str = "auto", dtype: str = "auto", strict: bool = False) -> "Illume":
    """The model of a folder or of a hub name.

    `strict`: everything that is asked at once gives bit for bit what it gives alone; slower. ModelError where it is no
    model, incomplete, or of another format or version.
    """
    where = pick_device(device)
    folder = Path(name) if Path(name).exists() else _download(str(name))
    return Illume(load_parts(folder, where, pick_dtype(dtype, where)), folder=folder, strict=strict)


class Illume:
    """A model ready to be used. `parts` are its networks and settings; `folder` is where it was loaded from."""

    def __init__(self, parts: Parts, *, folder: Path | None = None, strict: bool = False) -> None:
        self.parts = parts
        self.folder = folder
        self.strict = strict
        self.frame = ImageFrame(parts.tokenizer.grids(parts.image_size))
        self.painter = Painter(
            parts.tokenizer,
            parts.pixel_decoder,
            steps=parts.pixel_decoder.config.steps,
            guidance=parts.generation.paint_guidance,
            together=1 if strict else _PAINTED_TOGETHER,
        )
        self._engine: tuple[int, Engine] | None = None

    def save(self, folder: str | Path) -> None:
        """Write the whole model folder, or nothing."""
        save_parts(folder, self.parts)

    @overload
    def chat(
        self, question: str | Sequence[Message], images: Any = ..., *, history: Sequence[Turn] = ...,
        mode: Literal["text"] = ..., seed: int = ..., temperature: float | None = ..., max_new_text: int | None = ...,
    ) -> str: ...  # fmt: skip

    @overload
    def chat(
        self, question: str | Sequence[Message], images: Any = ..., *, history: Sequence[Turn] = ...,
        mode: Literal["auto"], seed: int = ..., temperature: float | None = ..., max_new_text: int | None = ...,
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
    ) -> str | list[str | Image.Image]:
        """The answer to a question about images, or to whole messages (then `images` is by the names in their parts).

        mode "text" answers in words; "auto" also draws, and the answer is a list of texts and pictures.
        """
        messages, shown = self._conversation(question, images, history)
        request = Request(messages, mode, self.frame if mode == "auto" else None, seed=seed, images=shown)
        text = _changed(self.parts.generation.text, temperature)
        drawing = self.parts.generation.draw
        sampling = {"text": text, "image": _changed(drawing.sampling, temperature)}
        guidance = drawing.guidance if mode == "auto" else 1.0
        request = replace(request, sampling=sampling, guidance=guidance, max_new_text=max_new_text)
        (result,) = self.run([request])
        return result.text if mode == "text" else self._answer(result, seed)

    def draw(self, prompt: str | Sequence[str], n: int = 1, seed: int = 0, **settings: Any) -> list[Image.Image]:
        """`n` pictures of each prompt, in the order of the prompts.

        The i-th picture of a prompt has seed `seed + i`. settings: guidance, temperature, top_k, top_p; None or left
        out is the model's own.
        """
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        return self.pictures([self.draw_request(text, seed + i, **settings) for text in texts for i in range(n)])

    def edit(self, image: ImageLike, instruction: str, n: int = 1, seed: int = 0, **settings: Any) -> list[Image.Image]:
        """`n` versions of an image, changed as told; seeds and settings as in `draw`."""
        pixels = self.pixels(image)
        return self.pictures([self.edit_request(pixels, instruction, seed + i, **settings) for i in range(n)])

    def assess(self, image: ImageLike, prompt: str) -> Verdict:
        """Whether an image shows what a prompt asks. DataError where the model's answer is no verdict."""
        (result,) = self.run([self.assess_request(image, prompt)])
        return Verdict.from_json(result.text)

    @torch.inference_mode()
    def reconstruct(self, image: ImageLike, seed: int = 0) -> Image.Image:
        """What the vision tokenizer and the pixel decoder keep of an image: pixels to codes and back."""
        device = next(self.parts.tokenizer.parameters()).device
        grids = self.parts.tokenizer.encode(_tensor(self.pixels(image))[None].to(device))
        codes = tuple(tuple(rearrange(grid, "1 h w -> (h w)").tolist()) for grid in grids)
        return self.painter.pictures([Drawn(self.frame, codes, seed_of("paint", seed))])[0]

    def run(self, requests: Iterable[Request]) -> list[Result]:
        """Answer requests in one batch, in their order."""
        wanted = list(requests)
        rows = sum(2 if request.guided else 1 for request in wanted)
        return self._engine_for(rows).run(wanted) if wanted else []

    def pictures(self, requests: Iterable[Request]) -> list[Image.Image]:
        """The pictures that requests draw, one each; RequestError for one that draws none or several."""
        wanted = list(requests)
        results = zip(wanted, self.run(wanted), strict=True)
        return self.painter.pictures([_drawn(result, request.seed) for request, result in results])

    def draw_request(self, prompt: str, seed: int = 0, **settings: Any) -> Request:
        """What `draw` asks, for `run` and `pictures`."""
        return self._drawing(prompts.draw(prompt), {}, self.parts.generation.draw, seed, **settings)

    def edit_request(self, image: ImageLike, instruction: str, seed: int = 0, **settings: Any) -> Request:
        """What `edit` asks, for `run` and `pictures`."""
        messages = prompts.edit(ImagePart(self.frame, image="source"), instruction)
        images = {"source": _tensor(self.pixels(image))}
        return self._drawing(messages, images, self.parts.generation.edit, seed, **settings)

    def ask_request(self, image: ImageLike, question: str, max_new_text: int | None = None) -> Request:
        """A question about an image, for `run`; the answer is the result's `text`."""
        return self._asking(prompts.ask(ImagePart(self.frame, image="image"), question), image, max_new_text)

    def assess_request(self, image: ImageLike, prompt: str) -> Request:
        """What `assess` asks, for `run`."""
        return self._asking(prompts.assess(ImagePart(self.frame, image="image"), prompt), image, None)

    def pixels(self, image: ImageLike) -> Image.Image:
        """An image as the model sees it: RGB, of its size. DataError for what is no image."""
        return ops.fit(_opened(image), self.parts.image_size)

    def _engine_for(self, rows: int) -> Engine:
        """The last engine if it has rows enough; so one picture does not pay for the memory of hundreds."""
        generation = self.parts.generation
        needed = max(2, min(rows, generation.rows))
        if self._engine is None or self._engine[0] < needed:
            parts = (self.parts.model, self.parts.layout, self.parts.text)
            settings: dict[str, Any] = {
                "max_length": generation.max_length,
                "paint": self.painter,
                "strict": self.strict,
            }
            tile = max(2, generation.rows) if self.strict else needed  # strict: one tile, whatever is asked
            self._engine = (tile, Engine(*parts, rows=tile, **settings))
        return self._engine[1]

    def _conversation(
        self,
        question: str | Sequence[Message],
        images: Sequence[ImageLike] | Mapping[str, ImageLike],
        history: Sequence[Turn],
    ) -> tuple[tuple[Message, ...], dict[str, Tensor]]:
        if not isinstance(question, str):
            if not isinstance(images, Mapping):
                if images:
                    raise RequestError("with messages, give images by name: {'a': ...} for ImagePart(..., image='a')")
                images = {}
            return tuple(question), {name: _tensor(self.pixels(one)) for name, one in images.items()}
        if isinstance(images, Mapping):
            raise RequestError("with a question, give images as a list")
        shown: dict[str, Tensor] = {}
        turns: list[tuple[Any, Any]] = []
        for turn in (*history, Turn(question, tuple(images), "")):
            names = [f"image {len(shown) + i}" for i in range(len(turn.images))]
            shown |= {name: _tensor(self.pixels(one)) for name, one in zip(names, turn.images, strict=True)}
            asked = [*(ImagePart(self.frame, image=name) for name in names), turn.question]
            turns += [("user", asked), ("assistant", turn.reply)]
        return tuple(prompts.chat(turns[:-1])), shown

    def _drawing(
        self,
        messages: Sequence[Message],
        images: dict[str, Tensor],
        defaults: Drawing,
        seed: int,
        *,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Request:
        sampling = _changed(defaults.sampling, temperature, top_k, top_p)
        scale = defaults.guidance if guidance is None else guidance
        regions = {"text": self.parts.generation.text, "image": sampling}
        return Request(tuple(messages), "image", self.frame, False, regions, scale, seed, images=images)

    def _asking(self, messages: Sequence[Message], image: ImageLike, max_new_text: int | None) -> Request:
        shown, sampling = {"image": _tensor(self.pixels(image))}, {"text": self.parts.generation.text}
        return Request(tuple(messages), "text", sampling=sampling, max_new_text=max_new_text, images=shown)

    def _answer(self, result: Result, seed: int) -> list[str | Image.Image]:
        found: list[str | Image.Image] = []
        for number, part in enumerate(result.parts):
            if isinstance(part, TextPart):
                found.append(part.text)
            elif isinstance(part, ImagePart) and part.image is not None:
                found.append(ops.from_pixels(result.images[part.image].numpy()))
            elif isinstance(part, ImagePart) and part.codes is not None:
                found += self.painter.pictures([Drawn(part.frame, part.codes, seed_of("paint", seed, number))])
        return found


def _drawn(result: Result, seed: int) -> Drawn:
    images = [part for part in result.parts if isinstance(part, ImagePart)]
    if len(images) != 1 or images[0].codes is None:
        raise RequestError(f"a request of {len(images)} drawn images has not one picture: give it mode 'image'")
    return Drawn(images[0].frame, images[0].codes, seed_of("paint", seed, 0))


def _changed(
    sampling: Sampling, temperature: float | None = None, top_k: int | None = None, top_p: float | None = None
) -> Sampling:
    given: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return replace(sampling, **{name: value for name, value in given.items() if value is not None})


def _opened(image: ImageLike) -> Image.Image:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise DataError(f"an array image has uint8 values and shape (h, w, 3), not {image.dtype} {image.shape}")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        return ops.decode(image)
    if image.mode == "RGB":
        return image
    data = io.BytesIO()  # the other modes take the way of a file: one place knows how they become RGB
    image.save(data, format="TIFF")
    return ops.decode(data.getvalue(), where=f"a picture of mode {image.mode}")


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(ops.to_pixels(image))


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download  # only where a hub name is given

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"]))
    except Exception as error:  # the hub's errors have many classes; each means that there is no such model here
        raise ModelError(f"{name}: neither a folder nor a model that the hub gives: {error}") from error
