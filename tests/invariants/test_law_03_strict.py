"""Law 3: strictly, a request's ids are bit-equal whatever else is in the batch; fast, where nothing was nearly even."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fixtures.tiny_drawing import WIDE, ask, chat, draw, edit, engine
from illume.generate.engine import Engine
from illume.generate.request import Request, Result
from illume.generate.runner import Runner

Build = Callable[[int], Engine]

REQUESTS = (
    draw(seed=1, guidance=2.0),
    edit(seed=2),
    ask("what?", seed=3),
    draw("two blue squares beside a small green triangle", WIDE, seed=4),
    chat("draw, then speak", guidance=1.5, seed=5),
)


def strict(rows: int) -> Engine:
    return engine(rows=rows, strict=True)


def fast(rows: int) -> Engine:
    return engine(rows=rows)


def ids_of(results: list[Result]) -> list[tuple[int, ...]]:
    return [result.ids for result in results]


def staggered(tested: Engine) -> list[tuple[int, ...]]:
    """The last one first, each new one two steps after the one before."""
    keys, found = [], {}
    for request in reversed(REQUESTS):
        keys.append(tested.add(request))
        found |= {result.key: result.ids for _ in range(2) for result in tested.step()}
    while tested.busy:
        found |= {result.key: result.ids for result in tested.step()}
    return [found[key] for key in reversed(keys)]


def check_ids_ignore_the_batch(build: Build) -> None:
    expected = [build(6).run([request])[0].ids for request in REQUESTS]
    assert ids_of(build(6).run(REQUESTS)) == expected
    assert ids_of(build(6).run(REQUESTS[::-1]))[::-1] == expected
    assert staggered(build(6)) == expected


def hidden_states(tested: Engine, requests: list[Request], monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The states from which the first request's ids were chosen."""
    seen: list[torch.Tensor] = []
    logits = Runner.logits

    def watching(self: Runner, rows: list[int], ids: range) -> torch.Tensor:
        seen.extend(self.hidden[row].clone() for row in rows if row == 0)
        return logits(self, rows, ids)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "logits", watching)
        tested.run(requests)
    return seen


def check_states_are_bit_equal(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharper than ids: the very numbers that they are chosen from."""
    one = hidden_states(build(6), [REQUESTS[1]], monkeypatch)
    many = hidden_states(build(6), [REQUESTS[1], *REQUESTS], monkeypatch)[: len(one)]
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_strict_ids_ignore_the_batch() -> None:
    check_ids_ignore_the_batch(strict)


def test_strict_states_are_bit_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    check_states_are_bit_equal(strict, monkeypatch)


def test_fast_ids_ignore_the_batch_where_no_choice_was_nearly_even() -> None:
    check_ids_ignore_the_batch(fast)  # these requests have no choice nearer than a rounding error


def test_the_check_catches_rounding_that_the_batch_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Runner._forward

    def rounded(self: Runner, *given: Any) -> torch.Tensor:
        in_use = sum(length > 0 for length in self.cache.lengths)
        return forward(self, *given) * (1 + 1e-6 * in_use)

    monkeypatch.setattr(Runner, "_forward", rounded)
    with pytest.raises(AssertionError):
        check_states_are_bit_equal(strict, monkeypatch)


def test_the_check_catches_randomness_that_the_batch_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        "illume.generate.choosing.keyed_uniform", lambda seed, step: torch.rand((), generator=stream).item()
    )
    with pytest.raises(AssertionError):
        check_ids_ignore_the_batch(strict)
