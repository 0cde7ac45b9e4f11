"""Drafted codes: rows that draft share a batch with all others, and every forward writes what it can."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import illume
from fixtures.serving import opened, served
from fixtures.tiny_drawing import LARGE, WIDE, ask, chat, draw, edit, engine, layout, text_format, tiny_model
from fixtures.tiny_model_folder import tiny_illume
from illume.cli import app
from illume.core.errors import RequestError
from illume.generate.coupling import acceptance, couple, residual
from illume.generate.coupling import draw as draw_from
from illume.generate.engine import Engine
from illume.generate.parallel import distributions
from illume.generate.request import GREEDY, Key, Progress, Request, Result, Sampling
from illume.generate.runner import Runner
from illume.generate.sampling import keyed_uniform, sample
from illume.models.unified import Unified
from illume.vocab.format import parse_parts
from illume.vocab.messages import ImagePart

CERTAIN = {"text": GREEDY, "image": GREEDY}
VARIED = (
    draw(seed=1),
    draw("two blue squares beside a small green triangle", WIDE, guidance=(0.5, 2.0), seed=2),
    edit(guidance=1.5, seed=3),
    ask(seed=5),
    draw("x", sized=True, guidance=3.0, seed=7),
    chat(seed=8),
    chat("draw two", guidance=2.0, seed=9),
    chat("any size", None, seed=10, guidance=0.5),
)


def ids(results: list[Result]) -> list[tuple[int, ...]]:
    return [result.ids for result in results]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many ids each forward takes in at most."""
    widths: list[int] = []
    advance = Runner.advance

    def counting(self: Runner, nexts: dict, wanted: tuple = ()) -> torch.Tensor:
        widths.append(max(map(len, nexts.values())))
        return advance(self, nexts, wanted)

    monkeypatch.setattr(Runner, "advance", counting)
    return widths


def some_distributions(number: int = 64, size: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both = torch.rand(2, number, size, generator=generator, dtype=torch.float64) ** 3
    both = both.where(both > 0.05, 0.0) + torch.eye(size, dtype=torch.float64)[0] * 1e-3
    wanted, drafted = both / both.sum(-1, keepdim=True)
    return wanted, drafted


def test_a_coupling_has_both_distributions_and_keeps_all_that_can_be_kept() -> None:
    wanted, drafted = some_distributions()
    columns = torch.arange(5)
    accepted = torch.stack([acceptance(wanted, drafted, column.expand(64)) for column in columns], dim=-1)
    kept = drafted * accepted
    together = kept + (1 - kept.sum(-1, keepdim=True)) * residual(wanted, drafted)
    torch.testing.assert_close(together, wanted)
    torch.testing.assert_close(kept.sum(-1), torch.minimum(wanted, drafted).sum(-1))


def test_samples_of_a_coupling_follow_their_distribution() -> None:
    wanted, drafted = (one[:1].expand(20_000, -1).float() for one in some_distributions(seed=4))
    uniforms = torch.tensor([[keyed_uniform(k, n) for k in range(3)] for n in range(20_000)])
    drafts = draw_from(drafted, uniforms[:, :1])[:, 0]
    codes, stands = couple(wanted, drafted, drafts, uniforms[:, 1:])
    assert (torch.bincount(codes, minlength=5) / 20_000 - wanted[0]).abs().max() < 0.015
    assert abs(stands.float().mean() - torch.minimum(wanted, drafted)[0].sum()) < 0.015
    assert torch.equal(codes[stands], drafts[stands])


def test_where_nothing_is_drafted_a_code_is_drawn_afresh() -> None:
    wanted, _ = some_distributions()
    nothing = torch.zeros_like(wanted)
    assert not acceptance(wanted, nothing, torch.zeros(64, dtype=torch.long)).any()
    torch.testing.assert_close(residual(wanted, nothing), wanted)


def test_a_draft_from_the_wanted_distribution_always_stands() -> None:
    wanted = some_distributions()[0].float()
    uniforms = torch.full((64, 2), 1 - 2**-23)
    codes, stands = couple(wanted, wanted.clone(), wanted.argmax(-1), uniforms)
    assert stands.all()
    assert torch.equal(codes, wanted.argmax(-1))
    torch.testing.assert_close(residual(wanted, wanted), wanted)  # never asked for, but no NaN


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-23])
def test_what_cannot_be_is_never_drawn(uniform: float) -> None:
    wanted, drafted = (one.float() for one in some_distributions())
    uniforms = torch.full((64, 3), uniform)
    assert (wanted.gather(-1, draw_from(wanted, uniforms)) > 0).all()
    codes, _ = couple(wanted, drafted, draw_from(drafted, uniforms[:, :1])[:, 0], uniforms[:, 1:])
    assert (wanted.gather(-1, codes[:, None]) > 0).all()


def test_distributions_are_those_that_sampling_draws_from() -> None:
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    ways = [Sampling(0), Sampling(1.3), Sampling(0.8, 3), Sampling(0.8, 5, 0.7), Sampling(1.0, 0, 0.5), Sampling()]
    found = distributions(logits, ways)
    for row, way in enumerate(ways):
        uniforms = [keyed_uniform(3, n) for n in range(4000)]
        drawn = torch.bincount(sample(logits[row].expand(4000, -1), [way] * 4000, uniforms), minlength=9) / 4000
        assert (drawn[found[row] == 0] == 0).all()
        assert (drawn - found[row]).abs().max() < 0.03
    torch.testing.assert_close(found.sum(-1), torch.ones(6))


@pytest.mark.parametrize("ahead", [1, 3, 16])
def test_the_likeliest_codes_are_those_of_one_at_a_time(ahead: int) -> None:
    requests = [replace(request, sampling=CERTAIN) for request in VARIED]
    assert ids(engine(rows=5, parallel=ahead).run(requests)) == likeliest()


@cache
def likeliest() -> list[tuple[int, ...]]:
    return ids(engine(rows=5).run([replace(request, sampling=CERTAIN) for request in VARIED]))


@cache
def constant_model() -> Unified:
    """Every code of a level is as likely at every place, whatever was written."""
    model = Unified(tiny_model().config, tiny_model().vision_encoder).eval()
    model.load_state_dict(tiny_model().state_dict())
    for row in layout().ranges()["level0"], layout().ranges()["level1"]:
        model.head.vision.data[row.start - layout().vision_start : row.stop - layout().vision_start] = 0
    return model.requires_grad_(False)


def forwards_needed(frame_codes: tuple[int, ...], ahead: int) -> int:
    """A forward behind the first code, whose row drafts; each then writes its drafts and one code more, and the first
    code of a level if it reaches there; a level that begins with a last drawn code has nothing drafted."""
    forwards, left, known = 0, list(frame_codes), False
    while left:
        drafts = min(ahead, left[0]) if known else 0
        wrote, left[0] = drafts, left[0] - drafts
        if left[0]:
            left[0], known, wrote = left[0] - 1, True, wrote + 1
            known = bool(left[0])
        elif len(left) > 1:
            left = [left[1] - 1, *left[2:]]
            known, wrote = bool(left[0]), wrote + 1
        if left and not left[0]:
            left, known = left[1:], False
        forwards += bool(left)
    return forwards


@pytest.mark.parametrize("ahead", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_what_depends_on_no_draft_stands_whole(forwards: list[int], ahead: int, guidance: float) -> None:
    tested = engine(model=constant_model(), parallel=ahead)
    tested.run([draw(guidance=guidance, sampling={"image": Sampling()})])
    assert len(forwards) == forwards_needed((4, 16), ahead)


def test_one_draft_at_a_time_needs_half_the_forwards_and_sixteen_a_few(forwards: list[int]) -> None:
    assert [forwards_needed((4, 16), ahead) for ahead in (1, 16)] == [10, 2]
    engine().run([draw()])
    assert len(forwards) == 19
    assert max(forwards) == 4  # a code with the end of its row, of its level, and the start of the next


@pytest.mark.parametrize("ahead", [1, 4, 16])
def test_drafting_takes_fewer_forwards_also_where_codes_depend_on_each_other(forwards: list[int], ahead: int) -> None:
    engine(parallel=ahead).run([draw(seed=seed, guidance=2.0) for seed in range(2)])
    assert len(forwards) <= 19


@pytest.mark.parametrize("ahead", [2, 7])
def test_answers_do_not_depend_on_the_batch(ahead: int) -> None:
    alone = [engine(rows=5, parallel=ahead).run([request])[0].ids for request in VARIED]
    assert ids(engine(rows=5, parallel=ahead).run(VARIED)) == alone
    assert ids(engine(rows=8, parallel=ahead).run(VARIED[::-1])) == alone[::-1]


def test_answers_are_whole_and_counted() -> None:
    for request, result in zip(VARIED, engine(parallel=4).run(VARIED), strict=True):
        assert parse_parts(result.ids, layout(), text_format()) or request.mode == "auto"
        drawn = [part for part in result.parts if isinstance(part, ImagePart)]
        if request.mode == "image":
            assert [len(level) for level in drawn[0].codes or ()] == [r * c for r, c in (request.frame or LARGE).grids]
            assert result.usage.image_ids == len(result.ids) - 1
            assert result.finished == "end"
        if request.mode == "auto":
            assert all(part.image in result.images for part in drawn)


def test_conversations_look_at_what_was_drafted() -> None:
    results = [engine(parallel=4).run([chat("draw two", seed=seed)])[0] for seed in range(4)]
    assert any(result.images for result in results)
    assert any(len(result.images) > 0 and result.text for result in results)


def test_words_are_what_they_are_without_drafts() -> None:
    asked = [ask(seed=seed) for seed in range(4)]
    assert ids(engine(parallel=4).run(asked)) == ids(engine().run(asked))


def test_another_seed_draws_another_picture() -> None:
    assert len(set(ids(engine(parallel=4).run([draw(seed=seed) for seed in range(4)])))) == 4


def test_a_used_engine_answers_as_a_new_one() -> None:
    asked = [edit(seed=3, guidance=1.5), ask(seed=5), chat(seed=8), draw(seed=1, guidance=2.0)]
    used = engine(rows=4, parallel=5)
    for _ in range(3):
        assert ids(used.run(asked)) == [engine(parallel=5).run([one])[0].ids for one in asked]
    assert used.load.reused > 0


@pytest.mark.parametrize("steps", range(0, 16, 3))
def test_cancelling_frees_rows_and_leaves_no_trace(steps: int) -> None:
    tested = engine(rows=5, parallel=3)
    given_up = [tested.add(one) for one in (chat(seed=8), edit(seed=3, guidance=1.5))]
    kept = {tested.add(one): one for one in (draw(seed=1, guidance=2.0), ask(seed=5))}
    found = {result.key: result for _ in range(steps) for result in tested.step()}
    for key in given_up:
        tested.cancel(key)
    found |= finish(tested)
    expected = {key: engine(parallel=3).run([one])[0].ids for key, one in kept.items()}
    assert {key: found[key].ids for key in kept} == expected
    assert tested.load.busy_rows == 0


def finish(tested: Engine) -> dict[Key, Result]:
    found: dict[Key, Result] = {}
    while tested.busy:
        found |= {result.key: result for result in tested.step()}
    return found


def test_progress_grows_by_what_stands() -> None:
    tested = engine(rows=2, parallel=3)
    key = tested.add(draw(frame=WIDE, sized=True, seed=2))
    seen: list[Progress] = []
    results: list[Result] = []
    while tested.busy:
        results += tested.step()
        progress = tested.progress(key)
        if progress and progress.drawing:
            seen.append(progress)
    final = results[0].parts[0].codes  # type: ignore[union-attr]
    counts = [sum(map(len, one.drawing.codes)) for one in seen if one.drawing]
    assert counts == sorted(counts)
    assert len(counts) < 10  # of 2 + 8 codes
    for one in seen:
        assert one.drawing
        assert all(level == whole[: len(level)] for level, whole in zip(one.drawing.codes, final, strict=True))


def test_a_row_has_room_for_all_that_is_drafted() -> None:
    request: Request = draw(seed=1, guidance=2.0)
    (result,) = engine().run([request])
    needed = result.usage.prompt_ids + len(result.ids) - 1  # the end of the turn is never read
    drafted = engine(max_length=needed, parallel=16).run([request])
    assert ids(drafted) == ids(engine(parallel=16).run([request]))


def test_strict_mode_drafts_nothing() -> None:
    with pytest.raises(RequestError, match="strict mode drafts no codes"):
        engine(strict=True, parallel=4)
    with pytest.raises(RequestError, match="1 or more, or 0 for none"):
        engine(parallel=-1)
    assert ids(engine(strict=True, parallel=0).run([draw()])) == ids(engine(strict=True).run([draw()]))


def test_a_model_is_loaded_to_draft_from_python_and_the_command_line(tmp_path: Path) -> None:
    tiny_illume().save(tmp_path / "model")
    model = illume.load(tmp_path / "model", device="cpu", parallel=4)
    (drawn,) = model.draw("a dot", seed=1)
    request = model.draw_request("a dot", seed=1)
    undrafting = illume.load(tmp_path / "model", device="cpu")
    drafted, plain = (undrafting.engine(rows=2, parallel=ahead).run([request])[0] for ahead in (4, 0))
    assert drafted.ids != plain.ids, "choose another seed"
    assert model.engine(rows=2).run([request])[0].ids == drafted.ids
    call = ["draw", str(tmp_path / "model"), "a dot", "--seed", "1", "--parallel", "4", "--device", "cpu"]
    assert CliRunner().invoke(app, [*call, "-o", str(tmp_path / "out.png")]).exit_code == 0
    assert Image.open(tmp_path / "out.png").tobytes() == drawn.tobytes()
    with served(model) as server, server.http() as http:
        answer = http.post("/v1/images/generations", json={"prompt": "a dot", "seed": 1}).json()
    assert opened(answer["data"][0]["b64_json"]).tobytes() == drawn.tobytes()


def test_drafts_in_strict_mode_are_refused_before_a_model_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="strict mode drafts no codes"):
        illume.load(tmp_path / "nothing", strict=True, parallel=4, device="cpu")
    with pytest.raises(RequestError, match="parallel"):
        illume.load(tmp_path / "nothing", parallel=-1, device="cpu")
