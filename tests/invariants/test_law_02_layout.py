"""Law 2: the ranges of a vocabulary tile [0, size); id <-> (level, code) is a bijection."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import FormatError
from illume.vocab.layout import VocabLayout

LAYOUTS = st.builds(
    VocabLayout,
    text_size=st.integers(1, 40),
    levels=st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple),
    text_padding=st.integers(0, 5),
    num_sizes=st.integers(0, 4),
    row_ends=st.booleans(),
    level_markers=st.booleans(),
)


def check_layout(layout: VocabLayout) -> None:
    """The law, for one layout."""
    tiles = [(name, id) for name, ids in layout.ranges().items() for id in ids]
    assert [id for _, id in tiles] == list(range(layout.size))
    assert [layout.region(id) for _, id in tiles] == [name for name, _ in tiles]
    assert [layout.marker(name) for name in layout.markers] == list(layout.ranges()["markers"])
    assert layout.ranges()["markers"].start == layout.vision_start
    assert layout.slot == layout.size - 1
    codes = [(level, code) for level, size in enumerate(layout.levels) for code in range(size)]
    ids = [layout.code_id(*code) for code in codes]
    assert len(set(ids)) == len(codes)
    assert [layout.code_of(id) for id in ids] == codes
    assert {layout.region(id) for id in ids} == {f"level{level}" for level in range(len(layout.levels))}
    assert len({layout.describe(id) for id in range(layout.size)}) == layout.size


def is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except FormatError:
        return True
    return False


@given(LAYOUTS)
def test_ranges_tile_and_codes_are_a_bijection(layout: VocabLayout) -> None:
    check_layout(layout)
    codes = {id for level in range(len(layout.levels)) for id in layout.ranges()[f"level{level}"]}
    assert all(is_refused(lambda id=id: layout.code_of(id)) for id in range(-1, layout.size + 1) if id not in codes)
    assert is_refused(lambda: layout.region(layout.size))
    assert is_refused(lambda: layout.region(-1))
    assert all(is_refused(lambda n=n, k=k: layout.code_id(n, k)) for n, k in enumerate(layout.levels))
    assert is_refused(lambda: layout.code_id(len(layout.levels), 0))
    assert is_refused(lambda: layout.code_id(0, -1))


class SharedCodes(VocabLayout):
    """Two levels whose codes begin at the same id."""

    def code_id(self, level: int, code: int) -> int:
        return super().code_id(0, code)


class Gap(VocabLayout):
    """An id that belongs to nothing."""

    def ranges(self) -> dict[str, range]:
        ranges = super().ranges()
        return ranges | {"text": range(self.text_size - 1)}


@pytest.mark.parametrize("broken", [SharedCodes, Gap])
def test_law_2_catches_a_broken_layout(broken: type[VocabLayout]) -> None:
    check_layout(VocabLayout(9, (4, 4)))
    with pytest.raises(AssertionError):
        check_layout(broken(9, (4, 4)))
