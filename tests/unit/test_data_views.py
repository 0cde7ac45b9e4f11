"""Views: pictures that share one aspect each with another, and how they reach a batch."""

from collections.abc import Callable

import numpy as np
import pytest

from illume.core.errors import ConfigError
from illume.data.augment import Augment
from illume.data.loader import ImageLoader
from illume.data.mixture import Mixture
from illume.data.world_images import WorldImages
from illume.data.world_source import PartedSource, WorldSource
from illume.world import PICO
from illume.world.render import RGB, position
from illume.world.scene import COLOURS

NUMBER = 24


def nameless() -> WorldImages:
    return WorldImages(PICO, "train", NUMBER, nameless=True)


def colours(images: WorldImages, key: str) -> list[RGB]:
    """What each object of the picture wears in its middle, in the order of the scene."""
    places = [position(thing, PICO) for thing in images.scene(int(key.rsplit("/", 1)[1]))]
    return [tuple(map(int, images.image(key)[y, x])) for x, y in places]  # type: ignore[misc]


def covered(picture: np.ndarray) -> np.ndarray:
    return (picture != np.array(PICO.background)).any(axis=-1)


def check_views(source: PartedSource, views: Callable[[int], tuple[str, ...]]) -> None:
    """The first view has the picture's shapes in colours it has not; the second its colours, mostly on other shapes."""
    images, others = source.images, 0
    for i in range(NUMBER):
        (shown,), (recoloured, reshaped) = source.record(i).images, views(i)
        outlines = [covered(images.image(key)) for key in (shown, recoloured, reshaped)]
        assert (outlines[0] == outlines[1]).mean() > 0.99, "other shapes"
        assert not set(colours(images, shown)) & set(colours(images, recoloured)), "colours that are its own"
        assert colours(images, shown) == colours(images, reshaped), "other colours"
        others += bool((outlines[0] != outlines[2]).any())
    assert others > NUMBER / 2, "hardly any other shape"


def test_a_view_shares_one_aspect_alone() -> None:
    source = PartedSource(nameless())
    check_views(source, source.views)


def test_the_law_catches_views_the_wrong_way_round() -> None:
    source = PartedSource(nameless())
    with pytest.raises(AssertionError):
        check_views(source, lambda i: source.views(i)[::-1])
    with pytest.raises(AssertionError):
        check_views(source, lambda i: (source.record(i).images[0],) * 2)


def test_no_view_shows_a_colour_that_has_a_name() -> None:
    images = nameless()
    named = {COLOURS[name] for name in PICO.colours}
    for i in range(NUMBER):
        for kind in ("scene", "recoloured", "reshaped"):
            assert not set(colours(images, images.key(kind, i))) & named


def test_views_are_of_nameless_pictures_alone() -> None:
    with pytest.raises(ConfigError, match="set nameless"):
        PartedSource(WorldImages(PICO, "train", 4))


def test_a_batch_has_the_views_of_its_pictures_and_of_others_the_picture_itself() -> None:
    parted, plain = PartedSource(nameless()), WorldSource(WorldImages(PICO, "train", NUMBER), "caption")
    loader = ImageLoader(Mixture([(parted, 0.5), (plain, 0.5)]), batch_size=16)
    (batch,) = loader.batches(2)
    assert len(batch.views) == 2
    for i, name in enumerate(batch.keys):
        same = [bool((view[i] == batch.pixels[i]).all()) for view in batch.views]
        assert all(same) == name.startswith("caption"), name
    assert {name.split("[")[0] for name in batch.keys} == {"parted", "caption"}
    (without,) = ImageLoader(Mixture([(plain, 1.0)]), batch_size=4).batches(0)
    assert without.views == ()


def test_views_are_augmented_as_their_picture_is() -> None:
    mixture = Mixture([(PartedSource(nameless()), 1.0)])
    (plain,), (moved,) = (
        ImageLoader(mixture, batch_size=8, augment=augment).batches(0) for augment in (None, Augment(flip=True))
    )
    flipped = [bool((a != b).any()) for a, b in zip(plain.pixels, moved.pixels, strict=True)]
    assert any(flipped)
    for before, after in zip(plain.views, moved.views, strict=True):
        assert [bool((a != b).any()) for a, b in zip(before, after, strict=True)] == flipped


def test_sources_of_a_mixture_have_equally_many_views() -> None:
    class Three(PartedSource):
        def views(self, index: int) -> tuple[str, ...]:
            return (*super().views(index), self.images.key("scene", index))

    images = nameless()
    with pytest.raises(ConfigError, match=r"\[2, 3\] views"):
        ImageLoader(Mixture([(PartedSource(images), 0.5), (Three(images, name="three"), 0.5)]), batch_size=2)
