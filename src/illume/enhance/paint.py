"""Step 2: a model draws the prompts, several times each; it does not know who will judge, nor that anybody learns.

Drawings are made in blocks that follow from prompts and settings alone, and a block is drawn as a whole or not: so the
pictures are the same however often the work was stopped, and whichever process drew them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from illume.api import Illume
from illume.core.config import plain_hash, to_dict
from illume.core.dist import barrier, is_main, rank, world_size
from illume.core.errors import CheckpointError
from illume.core.streams import seed_of
from illume.data.json_log import read_log
from illume.data.loader import Share
from illume.encode import weights_hash
from illume.enhance.drawn_codes import noted
from illume.enhance.propose import Check, Prompt, lines, read_prompts, save_picture
from illume.enhance.round import RoundFolder, key_of
from illume.generate.draw import drawn
from illume.generate.request import Scale
from illume.generate.sequence import Sequence as Conversation
from illume.generate.sequence import Walk
from illume.judge.drawings import drawing_row
from illume.session.folder import fingerprint


@dataclass(frozen=True)
class Painting:
    """How prompts are drawn: how often each, from which seed, how many drawings together; None is the model's own."""

    per_prompt: int = 1
    seed: int = 0
    together: int = 64
    guidance: Scale | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if self.per_prompt < 1 or self.together < 1:
            raise ValueError(f"per_prompt ({self.per_prompt}) and together ({self.together}) are 1 or more")

    @property
    def sampling(self) -> dict[str, Any]:
        """What `Illume.draw_request` takes."""
        return {name: getattr(self, name) for name in ("guidance", "temperature", "top_k", "top_p")}


@dataclass(frozen=True)
class Planned:
    """A drawing to be made: `key` names prompt, seed, drawer and settings."""

    key: str
    prompt: Prompt
    seed: int

    @property
    def image(self) -> str:
        """Where its picture stands, from the round's folder."""
        return f"images/{self.key}.png"


def paint(
    folder: RoundFolder,
    illume: Illume,
    painting: Painting,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Draw what drawings.jsonl lacks, and write it; every process of a group calls this, and draws its share. Of a file
    that stands, pictures that somebody deleted are drawn again, but not those whose lines are gone too.

    CheckpointError where the folder's drawings are another model's, or were made with other settings.
    """
    drawer = drawer_of(illume)
    by = {"drawer": drawer, "settings": settings_of(illume, painting)}
    of = {"prompts": folder.digest("propose"), **by}
    _refuse_others(folder, by)
    stands = folder.stands("paint", of)
    named = {row.get("image") for _, row in read_log(folder.drawings)} if stands else None
    lacks = named is None or not all((folder.path / str(image)).is_file() for image in named)
    barrier()  # before anybody draws: all know the same
    if lacks:
        planned = plan(read_prompts(folder.prompts, room(illume)), painting, plain_hash(by))
        draw_missing(folder.path, illume, painting, planned, Share(rank(), world_size()), on_progress, named)
        barrier()
        if is_main():
            folder.settle("paint", of, lines(_row(one, drawer) for one in planned))
    barrier()


def plan(prompts: Sequence[Prompt], painting: Painting, by: str) -> list[Planned]:
    """Every drawing, in the order of the prompts. The seed of one depends on its prompt, not on the others."""
    found = []
    for prompt in prompts:
        for number in range(painting.per_prompt):
            seed = seed_of("enhance", painting.seed, prompt.text, number) >> 11  # 53 bits: exact in any JSON reader
            found.append(Planned(key_of(prompt.text, prompt.spec, seed, by), prompt, seed))
    return found


def draw_missing(
    path: Path,
    illume: Illume,
    painting: Painting,
    planned: Sequence[Planned],
    share: Share,
    on_progress: Callable[[int], None] | None = None,
    named: Collection[object] | None = None,
) -> None:
    """Draw this process's blocks that lack a picture, of `named` ones alone where there are some. Pictures that are
    there stay as they are, edited or not."""
    report = on_progress or (lambda drawings: None)
    for number, block in enumerate(_blocks(planned, painting.together)):
        if number % share.world_size != share.rank:
            continue
        wanted = [one for one in block if named is None or one.image in named]
        if not all((path / one.image).is_file() for one in wanted):
            # An engine of its own: what was drawn before must not show in the shapes of what is drawn now.
            drawer = Illume(illume.parts, folder=illume.folder, strict=illume.strict, tier=illume.tier)
            asked = [drawer.draw_request(one.prompt.text, one.seed, **painting.sampling) for one in block]
            made = [drawn(result, one.seed) for one, result in zip(block, drawer.run(asked), strict=True)]
            for one, codes, picture in zip(block, made, drawer.painter.pictures(made), strict=True):
                if one in wanted and not (path / one.image).is_file():
                    save_picture(picture, path / one.image, noted(picture, codes.codes))
        report(len(block))


def drawer_of(illume: Illume) -> str:
    """Names the weights that draw."""
    parts = illume.parts
    modules = {"model": parts.model, "tokenizer": parts.tokenizer, "pixel_decoder": parts.pixel_decoder}
    weights = {name: weights_hash(module) for name, module in modules.items()}
    return f"illume-{plain_hash({**weights, **fingerprint(parts)})}"


def settings_of(illume: Illume, painting: Painting) -> dict[str, Any]:
    """All that pictures depend on beside the weights and the prompts, as plain data."""
    generation = illume.parts.generation
    own = {"draw": to_dict(generation.draw), "paint_guidance": generation.paint_guidance, "rows": generation.rows}
    return {**asdict(painting), "own": own, "strict": illume.strict, "steps": illume.painter.steps}


def room(illume: Illume) -> Check:
    """Refuses prompts that leave no room for a picture."""
    walk = Walk(illume.parts.layout, illume.parts.text, illume.parts.reading)

    def check(text: str) -> None:
        Conversation(0, illume.draw_request(text), walk).check_room(illume.parts.generation.max_length)

    return check


def _blocks(planned: Sequence[Planned], size: int) -> Iterator[Sequence[Planned]]:
    return (planned[start : start + size] for start in range(0, len(planned), size))


def _row(one: Planned, drawer: str) -> dict[str, Any]:
    return drawing_row(one.key, one.prompt.text, one.image, seed=one.seed, drawer=drawer, spec=one.prompt.spec)


def _refuse_others(folder: RoundFolder, by: Mapping[str, Any]) -> None:
    made = folder.made_of("paint") if folder.drawings.is_file() else None
    for name, now in by.items():
        if made is not None and made[name] != now:
            what = "by another model" if name == "drawer" else "with other settings"
            raise CheckpointError(
                f"{folder.drawings} was drawn {what} ({made[name]}, now {now}): choose another folder, or delete "
                "drawings.jsonl there to draw anew (the pictures that are there stay)"
            )
