"""The average is the normalised sum it claims to be, and a swap leaves no trace."""

import torch
from torch import nn

from illume.train.ema import EMA


def check_average(ema_class: type[EMA], decay: float = 0.9, steps: int = 20) -> None:
    parameter = nn.Parameter(torch.full((2,), 100.0))  # the initial weights must not enter
    ema = ema_class({"w": parameter}, decay)
    seen = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            parameter.copy_(torch.randn(2, generator=torch.Generator().manual_seed(step)))
        seen.append(parameter.detach().clone())
        ema.update(step)
        shares = torch.tensor([decay ** (step - 1 - when) for when in range(step)])
        expected = (torch.stack(seen) * (shares / shares.sum())[:, None]).sum(0)
        torch.testing.assert_close(ema.averages["w"], expected)


def test_the_average_weighs_steps_by_their_age_from_the_first_on() -> None:
    check_average(EMA)


def test_the_check_catches_an_average_without_correction() -> None:
    class Uncorrected(EMA):
        def update(self, step: int) -> None:
            super().update(10**6)

    try:
        check_average(Uncorrected)
    except AssertionError:
        return
    raise AssertionError("an average that remembers the initial weights went unnoticed")


def test_swapping_is_undone_even_by_an_error() -> None:
    parameter = nn.Parameter(torch.ones(2))
    ema = EMA({"w": parameter}, 0.5)
    with torch.no_grad():
        parameter.fill_(3.0)
    try:
        with ema.swap():
            assert parameter.tolist() == [1.0, 1.0]
            raise KeyError
    except KeyError:
        pass
    assert parameter.tolist() == [3.0, 3.0]
    assert ema.averages["w"].tolist() == [1.0, 1.0]
    ema.store()
    assert parameter.tolist() == [1.0, 1.0]
