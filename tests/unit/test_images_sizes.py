"""Grids and size buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.config import from_dict, to_dict
from illume.core.errors import DataError
from illume.images.sizes import SizeBuckets, grid_of

SIZES = st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), min_size=1, max_size=6, unique=True)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 32))
def test_images_sizes_grids_tile_the_picture(rows, columns, stride):
    assert grid_of((rows * stride, columns * stride), stride) == (rows, columns)


@pytest.mark.parametrize(("size", "stride"), [(33, 8), ((32, 20), 8), (0, 8), ((8, -8), 8)])
def test_images_sizes_what_does_not_divide_is_refused(size, stride):
    with pytest.raises(DataError, match="does not divide"):
        grid_of(size, stride)


def test_images_sizes_two_unequal_levels():
    assert (grid_of(256, 16), grid_of(252, 28)) == ((16, 16), (9, 9))
    with pytest.raises(ValueError, match="stride"):
        grid_of(32, 0)


@given(SIZES)
def test_images_sizes_tags_name_each_size(sizes):
    buckets = SizeBuckets(tuple(sizes))
    for size in sizes:
        assert buckets.size_of(*buckets.tags(size)) == size
        assert buckets.nearest(*size) == size
    assert from_dict(SizeBuckets, to_dict(buckets)) == buckets


def test_images_sizes_nearest_goes_by_shape_then_area():
    buckets = SizeBuckets(((256, 256), (512, 512), (256, 512), (512, 256)))
    assert buckets.nearest(300, 310) == (256, 256)
    assert buckets.nearest(2000, 2100) == (512, 512)
    assert buckets.nearest(1080, 1920) == (256, 512)
    assert buckets.nearest(10, 1) == (512, 256)


def test_images_sizes_unknown_ones_are_refused():
    buckets = SizeBuckets(((256, 256), (512, 256)))
    with pytest.raises(DataError, match="256 x 512 is none of the sizes 256 x 256, 512 x 256"):
        buckets.tags((256, 512))
    for tags in ((2, 0), (0, 1), (-1, 0)):
        with pytest.raises(DataError, match="size tags"):
            buckets.size_of(*tags)
    with pytest.raises(DataError, match="no shape"):
        buckets.nearest(0, 5)
    for wrong in ((), ((1, 1), (1, 1)), ((0, 1),)):
        with pytest.raises(ValueError, match="sizes"):
            SizeBuckets(wrong)
