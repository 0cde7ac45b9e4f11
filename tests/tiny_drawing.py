"""A random model of two unequal levels that answers at once, and the slow way to answer: no cache, no batch."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from illume.core.streams import seed_of
from illume.generate.engine import Drawn, Engine
from illume.generate.guidance import combine
from illume.generate.request import Request, Sampling
from illume.generate.sampling import keyed_uniform, sample
from illume.models.decoder import DecoderConfig
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import EncoderConfig, Tap, build_encoder
from illume.tasks import prompts
from illume.vocab.format import render, render_read
from illume.vocab.grammar import Grammar
from illume.vocab.layout import VocabLayout, read_frame, written_frame
from illume.vocab.messages import ImageFrame, ImagePart
from illume.vocab.text import PLAIN, TextFormat, train_byte_bpe

SIZE = 8
LENGTH = 150  # positions of a row
SIDES = ((2, 4), (1, 2))  # an image of 8 pixels a side, one of 4
LARGE, WIDE = ImageFrame(((2, 2), (4, 4))), ImageFrame(((1, 2), (2, 4)))
WARM = {"text": Sampling(1.0), "image": Sampling(0.8, 20, 0.9), "level1": Sampling(1.0)}


@cache
def text_format() -> TextFormat:
    return TextFormat(train_byte_bpe([], 256 + len(PLAIN.specials), PLAIN.specials), PLAIN)


@cache
def layout(reread: bool = True) -> VocabLayout:
    return VocabLayout(text_format().size, (24, 40), text_padding=3, num_sizes=2, sides=SIDES, reread=reread)


@cache
def tiny_model(seed: int = 0) -> Unified:
    """Random to the last weight, so that every position and every row of a cache matters to what comes next."""
    torch.manual_seed(seed)
    taps = (Tap(merge=2), Tap())
    encoder = build_encoder(EncoderConfig(image_size=SIZE, patch=2, width=16, layers=1, heads=2, hidden=32, taps=taps))
    shape = DecoderConfig(width=32, layers=2, heads=4, kv_heads=2, head_dim=8, hidden=64)
    codes = tuple((ids.start, ids.stop) for name, ids in layout().ranges().items() if name.startswith("level"))
    start = layout().vision_start
    model = Unified(UnifiedConfig(shape, start, layout().size - start, codes, max_grid=4), encoder).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5 if name.startswith(("embedding", "head", "places")) else 0.25)
        starts = [layout().marker("start_of_image"), *layout().ranges()["heights"]]
        model.head.vision[[id - start for id in starts]] *= 4  # free to draw, it often does
    return model.requires_grad_(False)


def picture(seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def paint(drawn: Sequence[Drawn]) -> list[Tensor]:
    """A picture that depends on every code and on nothing else."""
    sizes = [tuple(2 * side for side in image.frame.grids[-1]) for image in drawn]
    seeds = [seed_of(*(code for level in image.codes for code in level)) % 2**31 for image in drawn]
    return [picture(seed, size) for seed, size in zip(seeds, sizes, strict=True)]


def engine(rows: int = 8, strict: bool = False, model: Unified | None = None, **settings: object) -> Engine:
    settings = {"max_length": LENGTH, "chunk": 16, "paint": paint} | settings
    return Engine(model or tiny_model(), layout(), text_format(), rows=rows, strict=strict, **settings)


def draw(prompt: str = "a red circle", frame: ImageFrame = LARGE, **settings: object) -> Request:
    return Request(tuple(prompts.draw(prompt)), "image", frame, **({"sampling": WARM} | settings))


def edit(seed: int = 1, **settings: object) -> Request:
    messages = tuple(prompts.edit(ImagePart(LARGE, image="source"), "remove it"))
    settings = {"sampling": WARM, "images": {"source": picture(seed)}} | settings
    return Request(messages, "image", LARGE, **settings)


def ask(question: str = "how many?", seed: int = 2, **settings: object) -> Request:
    messages = tuple(prompts.ask(ImagePart(LARGE, image="shown"), question))
    settings = {"sampling": WARM, "images": {"shown": picture(seed)}, "max_new_text": 8} | settings
    return Request(messages, "text", **settings)


def chat(words: str = "draw and tell", frame: ImageFrame | None = LARGE, **settings: object) -> Request:
    settings = {"sampling": WARM, "max_new_text": 6} | settings
    return Request(tuple(prompts.chat([("user", words)])), "auto", frame, **settings)


class SlowAnswer:
    """One answer, id by id, each from a forward over everything so far: the definition the engine is held against."""

    def __init__(self, request: Request, model: Unified | None = None) -> None:
        self.request, self.model = request, model or tiny_model()
        self.grammar = Grammar(layout(), text_format())
        self.pixels = dict(request.images)
        self.written: list[int] = []
        self.ahead: list[tuple[int, int, int]] = []  # the place each written id carries
        self.slots: list[tuple[int, int, str]] = []  # position among the written, level, image
        self.state = self.grammar.start(request.mode, None if request.mode == "text" else request.frame, request.sized)

    def hidden(self, messages: Sequence[object]) -> Tensor:
        found = render(list(messages), layout(), text_format(), prompt=True)
        ids, places = [*found.ids, *self.written], [p or (-1, -1, -1) for p in found.places] + self.ahead
        runs = [(run.start, run.level, run.image) for run in found.slots]
        runs += [(start + len(found.ids), level, image) for start, level, image in self.slots]
        index, embeds = [], []
        for start, level, image in runs:
            features = self.model.read(self.pixels[image][None])[level][0]
            index += range(start, start + len(features))
            embeds.append(features)
        slots = {"slot_index": torch.tensor(index), "slot_embeds": torch.cat(embeds)} if index else {}
        positions = torch.arange(len(ids))[None]
        return self.model(torch.tensor([ids]), positions, places=torch.tensor([places]), **slots)[:, -1]

    def allowed(self) -> list[int]:
        ids = list(self.grammar.allowed(self.state))
        if self.request.mode != "auto" or layout().marker("end_of_image") in ids or text_format().end not in ids:
            return ids
        frame, sized = self.request.frame or LARGE, self.request.sized or self.request.frame is None
        room = len(written_frame(layout(), frame, sized)) + len(read_frame(layout(), frame))
        forms = [self.request.messages, *([prompts.dropped(self.request.messages)] if self.request.guided else [])]
        longest = max(len(render(list(form), layout(), text_format(), prompt=True).ids) for form in forms)
        fits = longest + len(self.written) + room <= LENGTH
        return ids if fits else [id for id in ids if id < layout().vision_start]

    def next_id(self) -> int:
        ids = self.allowed()
        if len(ids) == 1:
            return ids[0]
        drawing = self.grammar.remaining(self.state) is not None
        logits = self.model.head.logits(self.hidden(self.request.messages))[:, ids]
        if drawing and self.request.guided:
            other = self.model.head.logits(self.hidden(prompts.dropped(self.request.messages)))[:, ids]
            logits = combine(logits, other, self.request.guidance)
        uniform = keyed_uniform(seed_of("answer", self.request.seed), len(self.written))
        sampling = self.request.sampling_of(self.grammar.region(self.state))
        return ids[sample(logits, sampling, [uniform]).item()]

    def look_again(self) -> None:
        start = max(i for i, id in enumerate(self.written) if id == layout().marker("start_of_image"))
        codes: list[list[int]] = [[], []]
        for id in self.written[start:]:
            if layout().region(id).startswith("level"):
                level, code = layout().code_of(id)
                codes[level].append(code)
        frame, image = self.state.drawing, f"drawn {start}"
        self.pixels[image] = paint([Drawn(frame, tuple(map(tuple, codes)), 0)])[0]
        read = render_read(ImagePart(frame, image=image), layout())
        self.slots += [(run.start + len(self.written), run.level, image) for run in read.slots]
        self.state = self.grammar.walk(self.state, read.ids)
        self.written += read.ids
        self.ahead += [place or (-1, -1, -1) for place in read.places]

    @torch.inference_mode()
    def ids(self) -> tuple[int, ...]:
        words = 0
        while not self.grammar.done(self.state) and words != self.request.max_new_text:
            id = self.next_id()
            self.state = self.grammar.step(self.state, id)
            self.written.append(id)
            self.ahead.append(self.grammar.place(self.state) or (-1, -1, -1))
            words += id < layout().vision_start
            if self.grammar.parked(self.state):
                self.look_again()
        return tuple(self.written)
