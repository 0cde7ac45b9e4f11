"""Tests of one group run in one worker, or what they share, a trained run above all, is made twice."""

import pytest


@pytest.mark.xdist_group("kept together")
def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not run as `make test` runs: -n 2 --dist loadgroup")
    assert request.node.nodeid.endswith("@kept together")
