"""A loaded model answers lists of items as it answers single ones, the same at every call."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fixtures.tiny_model_folder import SIZE, tiny_encoder, tiny_illume
from illume.eval.embedder import TowerEmbedder
from illume.eval.subject import ModelSubject
from illume.eval.task import Picture
from illume.tasks import prompts
from illume.train.encoder_objective import Contrast, ContrastConfig
from illume.vocab.format import render


def pictures(number: int = 3) -> list[Picture]:
    return [np.random.default_rng(i).integers(0, 256, (*SIZE, 3), dtype=np.uint8) for i in range(number)]


WORDS = ["a red circle", "two", "is it?"]
CALLS: dict[str, Callable[[ModelSubject, int], list[object]]] = {
    "ask": lambda subject, n: subject.ask(pictures(n), WORDS[:n]),
    "blind": lambda subject, n: subject.ask([None] * n, WORDS[:n]),
    "caption": lambda subject, n: subject.caption(pictures(n)),
    "draw": lambda subject, n: [p.tobytes() for p in subject.draw(WORDS[:n])],
    "edit": lambda subject, n: [p.tobytes() for p in subject.edit(pictures(n), WORDS[:n])],
    "inpaint": lambda subject, n: [p.tobytes() for p in subject.inpaint(pictures(n), [None, *WORDS[1:n]])],
    "reconstruct": lambda subject, n: [p.tobytes() for p in subject.reconstruct(pictures(n))],
    "assess": lambda subject, n: subject.assess(pictures(n), WORDS[:n]),
    "nats": lambda subject, n: [round(nats, 4) for nats in subject.nats(WORDS[:n])],
}


def test_large_pictures_are_asked_about_as_chat_does() -> None:
    large = np.random.default_rng(7).integers(0, 256, (2 * SIZE[0], 2 * SIZE[1], 3), dtype=np.uint8)
    illume = tiny_illume(strict=True)
    found = [ModelSubject(illume).ask([large], ["what?"], slices=slices)[0] for slices in (0, 4)]
    said = [illume.chat("what?", [large], slices=slices, max_new_text=16) for slices in (0, 4)]
    assert found == said
    assert found[0] != found[1]


@pytest.mark.parametrize("name", CALLS)
def test_fewer_items_get_the_same_answers(name: str) -> None:
    """An item's answer depends on its place in the list, not on how many follow: a smoke test measures the same."""
    subject = ModelSubject(tiny_illume(strict=True), seed=3)
    three, two = CALLS[name](subject, 3), CALLS[name](subject, 2)
    assert len(three) == 3
    assert three[:2] == two


def test_nats_are_those_of_every_id_after_the_ones_before_it() -> None:
    """Id by id, each from a sequence of its own: what a text costs, its end included, its opening not."""
    parts = tiny_illume().parts
    ids = render(prompts.text(WORDS[0]), parts.layout, parts.text).ids
    opening = len(parts.text.openings["assistant"])
    nats = 0.0
    for number in range(opening, len(ids)):
        before = torch.tensor([ids[:number]])
        places = torch.full((*before.shape, 3), -1)
        with torch.no_grad():
            hidden = parts.model(before, torch.arange(number)[None], places=places)
            nats -= parts.model.head.logits(hidden[0, -1]).log_softmax(-1)[ids[number]].item()
    assert ids[-1] == parts.text.end
    assert ModelSubject(tiny_illume()).nats([WORDS[1], WORDS[0]])[1] == pytest.approx(nats, rel=1e-4)


def test_seeds_differ_by_item_and_by_seed() -> None:
    drawn = [p.tobytes() for p in ModelSubject(tiny_illume(), seed=0).draw(["x"] * 4)]
    other = [p.tobytes() for p in ModelSubject(tiny_illume(), seed=1).draw(["x"] * 4)]
    assert len({*drawn, *other}) == 8


def test_reconstructions_have_the_codes_of_their_own_pictures() -> None:
    subject = ModelSubject(tiny_illume(strict=True))
    same = subject.reconstruct([pictures(1)[0]] * 2 + pictures(2)[1:])
    assert all(p.shape == (*SIZE, 3) and p.dtype == np.uint8 for p in same)


def test_the_towers_give_unit_vectors_item_by_item() -> None:
    torch.manual_seed(0)
    config = ContrastConfig(text_size=tiny_illume().parts.text.size, width=16, heads=2, hidden=32, layers=1, dim=8)
    encoder = tiny_encoder().eval()
    embedder = TowerEmbedder(Contrast(config, encoder.dims), encoder, tiny_illume().parts.text.tokenizer.encode)
    for embed, items in ((embedder.texts, WORDS), (embedder.pictures, pictures())):
        together = embed(items)
        assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
        assert together == pytest.approx(np.concatenate([embed([item]) for item in items]), abs=1e-5)
