"""How many rows a server has: as many as are asked for, or as fit into the memory that it is given for them."""

import pytest
from typer.testing import CliRunner

from fixtures.serving import drawer, served
from fixtures.tiny_model_folder import tiny_parts
from illume.api import Illume
from illume.cli import app
from illume.core.errors import UsageError
from illume.generate.engine import Engine
from illume.serve.service import Service
from illume.serve.settings import Limits, Settings


def kept(engine: Engine) -> int:
    """Bytes of an engine's cache."""
    return sum(one.numel() * one.element_size() for one in engine._runner.cache.kept)


@pytest.mark.parametrize(("strict", "tier"), [(True, "auto"), (False, "auto"), (False, "bf16"), (False, "int8")])
def test_a_row_takes_what_it_is_said_to_take(strict: bool, tier: str) -> None:
    model = Illume(tiny_parts(), strict=strict, tier=tier)
    for length in (None, 64):
        assert kept(model.engine(3, max_length=length)) == 3 * model.row_bytes(length)


def test_as_many_rows_as_fit() -> None:
    size = drawer().row_bytes()
    for memory, rows in ((5 * size, 5), (6 * size - 1, 5), (2 * size, 2), (100 * size, 8)):
        service = Service(drawer(), Settings(cache_bytes=memory, limits=Limits(open=4)))
        assert service.rows == service.worker.load.rows == rows
        assert kept(service.worker._engine) <= memory


def test_too_little_for_two_rows_is_said_with_what_is_needed() -> None:
    size = drawer().row_bytes()
    with pytest.raises(UsageError, match=r"a guided drawing two: give a cache of .* GB or more.*max_length"):
        Service(drawer(), Settings(cache_bytes=2 * size - 1))
    found = CliRunner().invoke(app, ["serve", "nowhere", "--rows", "4", "--cache-gb", "1"])
    assert isinstance(found.exception, UsageError)
    assert "give one of them" in str(found.exception)


def test_a_server_says_at_its_start_what_rows_cost(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "illume.serve"), served(cache_bytes=3 * drawer().row_bytes()) as found:
        (line,) = (one.fields for one in caplog.records if one.getMessage() == "serving")
    assert line["rows"] == 3
    assert line["row_megabytes"] == round(found.illume.row_bytes() / 2**20, 3) > 0
