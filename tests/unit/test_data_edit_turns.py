"""Conversations of several edits: what they show, what is learnt in them, and that they are what a session holds."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from fixtures.sequences import ONE_LEVEL, TWO_LEVELS, random_codes, tiny_text
from fixtures.tiny_recipe import tiny_pico
from illume.core.errors import ConfigError, DataError
from illume.data.examples import Examples, Pictures, drawn_keys, messages
from illume.data.loader import SequenceLoader
from illume.data.mixture import Mixture
from illume.data.records import Record, Turn, to_dict, validate
from illume.data.world_images import TURNS, WorldImages
from illume.data.world_source import WorldSource
from illume.recipes.data import open_data
from illume.tasks import prompts
from illume.vocab.format import render
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import Grid, ImageFrame, Message
from illume.world import NANO, PICO, WorldConfig, oracle, scene_split
from illume.world.sampling import sample_edit_chain

NUM = 6
IMAGES = WorldImages(PICO, "train", 0, name="chains", num_chains=NUM)
SOURCE = WorldSource(IMAGES, "edit_turns")


def pictures(grids: tuple[Grid, ...] = ONE_LEVEL) -> Pictures:
    return Pictures(ImageFrame(grids), random_codes(IMAGES, grids))


def layout(grids: tuple[Grid, ...] = ONE_LEVEL, reread: bool = True) -> VocabLayout:
    return VocabLayout(tiny_text().size, (64, 96)[: len(grids)], num_sizes=0, reread=reread)


@pytest.mark.parametrize("config", [PICO, NANO])
def test_records_are_valid_pure_and_about_images_that_are_there(config: WorldConfig) -> None:
    one, other = (WorldImages(config, "train", 0, name="c", num_chains=3) for _ in range(2))
    source, again = WorldSource(one, "edit_turns"), WorldSource(other, "edit_turns")
    assert len(source) == 6
    for index in reversed(range(6)):
        record = source.record(index)
        assert record == again.record(index)
        assert validate(to_dict(record), "here") == record
        assert record.task == "chat"
        assert len(record.images) == TURNS + 1
        assert set(drawn_keys(record)) == set(record.images) <= set(one.keys())


@pytest.mark.parametrize("split", ["train", "test"])
def test_its_pictures_are_those_of_the_chain_and_its_scenes_of_their_split(split: str) -> None:
    images = WorldImages(PICO, split, 0, name="c", num_chains=4)  # type: ignore[arg-type]
    for number in range(4):
        scene, edits = sample_edit_chain(PICO, split, number)  # type: ignore[arg-type]
        for turn, shown in enumerate((scene, *(edit.target for edit in edits))):
            assert scene_split(shown, PICO) == split
            assert oracle.same(images.image(f"c/turn{turn}/{number}"), shown, PICO)
    with pytest.raises(DataError, match="there is no image"):
        images.image("c/turn4/0")


def check_as_a_session_edits(record: Record, number: int) -> None:
    """The messages of edits one after the other, each of the picture that the last one drew."""
    shown = pictures()
    parts = [shown.drawn(IMAGES.key(f"turn{turn}", number)) for turn in range(TURNS + 1)]
    edits = IMAGES.chain(number)[1]
    expected: list[Message] = []
    for (before, after), edit in zip(pairwise(parts), edits, strict=True):
        expected += prompts.edit(before, edit.instruction, after)
    assert messages(record, shown) == expected


@pytest.mark.parametrize("number", range(NUM))
def test_one_form_is_what_a_session_edits(number: int) -> None:
    check_as_a_session_edits(SOURCE.record(number), number)


def test_the_check_catches_edits_of_another_picture() -> None:
    record = SOURCE.record(0)
    first, drawn, second, *rest = record.messages
    for wrong in ((Turn("user", (0, *second.parts[1:])), *rest), (Turn("user", second.parts[1:]), *rest)):
        with pytest.raises(AssertionError):
            check_as_a_session_edits(Record("chat", record.images, messages=(first, drawn, *wrong)), 0)


def test_the_other_form_shows_the_first_picture_alone() -> None:
    for number in range(NUM):
        record = SOURCE.record(NUM + number)
        said = [edit.instruction for edit in IMAGES.chain(number)[1]]
        users, answers = record.messages[::2], record.messages[1::2]
        assert [turn.parts for turn in users] == [(0, said[0]), *((text,) for text in said[1:])]
        assert [turn.parts for turn in answers] == [(1,), (2,), (3,)]


def check_what_is_learnt(conversation: Sequence[Message], grids: tuple[Grid, ...], reread: bool = True) -> None:
    """Loss on the codes of every drawn picture, in their order, and on no other; each is read before what follows."""
    seen_as = layout(grids, reread)
    rendered = render(list(conversation), seen_as, tiny_text())
    levels = range(len(grids))
    code_ids = {id for level in levels for id in seen_as.ranges()[f"level{level}"]}
    learnt = [id for id, loss in zip(rendered.ids, rendered.loss_mask, strict=True) if loss and id in code_ids]
    drawn = [part for message in conversation if message.is_target for part in message.parts]
    wanted = [seen_as.code_id(level, code) for part in drawn for level in levels for code in part.codes[level]]  # type: ignore[union-attr]
    assert learnt == wanted
    assert not any(loss for id, loss in zip(rendered.ids, rendered.loss_mask, strict=True) if id == seen_as.slot)
    shown = sum(len(message.parts) - 1 for message in conversation if message.role == "user")
    reads = [run for run in rendered.slots if run.level == 0]
    assert len(reads) == shown + len(drawn) - 1, "all shown ones, and all drawn ones but the last"


@pytest.mark.parametrize("grids", [ONE_LEVEL, TWO_LEVELS])
@pytest.mark.parametrize("index", [0, NUM])
def test_every_drawn_picture_is_learnt_and_read_before_what_follows(index: int, grids: tuple[Grid, ...]) -> None:
    check_what_is_learnt(messages(SOURCE.record(index), pictures(grids)), grids)


def test_the_check_catches_pictures_that_are_not_read_again_or_not_learnt() -> None:
    conversation = messages(SOURCE.record(0), pictures())
    with pytest.raises(AssertionError):
        check_what_is_learnt(conversation, ONE_LEVEL, reread=False)
    unlearnt = [Message(m.role, m.parts, target=None if i > 1 else False) for i, m in enumerate(conversation)]
    with pytest.raises(AssertionError):
        check_what_is_learnt([*unlearnt[:2], *conversation[2:]], ONE_LEVEL)


def test_the_last_instruction_is_dropped_for_guidance() -> None:
    edited, told = (messages(SOURCE.record(index), pictures()) for index in (1, NUM + 1))
    assert prompts.dropped(edited, training=True)[-2:] == prompts.reconstruct(*[edited[-2].parts[0]] * 2)  # type: ignore[list-item]
    assert prompts.dropped(told, training=True)[:-2] == told[:-2]
    assert prompts.dropped(told, training=True)[-2].parts[0].text == prompts.RANDOM  # type: ignore[union-attr]


def test_batches_are_made_of_them() -> None:
    examples = Examples(layout(), tiny_text(), pictures(), drop=0.5)
    loader = SequenceLoader(Mixture([(SOURCE, 1.0)]), examples, batch_size=4, row_length=512, rows_per_batch=2)
    batches = loader.batches(0)
    assert sum(len(tasks) for batch in batches for tasks in batch.tasks) == 4
    assert {task for batch in batches for tasks in batch.tasks for task in tasks} == {"chat"}
    assert all(np.isfinite(batch.images.numpy()).all() for batch in batches)


def test_a_recipe_has_them_where_a_stage_mixes_them(tmp_path: object) -> None:
    mixing = "stages.2.mixture={edit: 0.5, edit_turns: 0.5}"
    without, data = (open_data(tiny_pico(tmp_path, *more)) for more in ((), (mixing,)))  # type: ignore[arg-type]
    assert data.sources.keys() - without.sources.keys() == {"edit_turns"}
    assert data.shown.keys() - without.shown.keys() == {"turns"}
    recipe = tiny_pico(tmp_path, mixing)  # type: ignore[arg-type]
    encoded = {images.name: len(images.keys()) for images in data.images(recipe.stages)}
    assert encoded["chains-train"] == 4 * 64
    with pytest.raises(ConfigError, match="set num_chains"):
        WorldSource(WorldImages(PICO, "train", 2), "edit_turns")
    for wrong in ((0, 0, 0), (2, 0, -1)):
        with pytest.raises(ConfigError, match="scene"):
            WorldImages(PICO, "train", wrong[0], num_inpaintings=wrong[1], num_chains=wrong[2])


def test_images_without_chains_are_named_as_before() -> None:
    assert WorldImages(PICO, "train", 20, 10).fingerprint == "e2e50c7cd3f7-train-20-10-False"
    assert IMAGES.fingerprint == "e2e50c7cd3f7-train-0-0-False-chains6"
