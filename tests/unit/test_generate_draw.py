"""Codes become pictures: of the right size, by their own seed, in the order given."""

from dataclasses import replace

import pytest
import torch

from fixtures.tiny_model_folder import CODES, SIZE, tiny_parts
from illume.core.device import generator
from illume.generate.draw import Painter
from illume.generate.painting import Drawn
from illume.vocab.messages import ImageFrame

SQUARE, WIDE = ImageFrame(((4, 4),)), ImageFrame(((2, 4),))


def painter(together: int = 1) -> Painter:
    parts = tiny_parts()
    return Painter(parts.tokenizer, parts.pixel_decoder, steps=2, together=together)


def drawn(seed: int, frame: ImageFrame = SQUARE) -> Drawn:
    codes = torch.randint(CODES, (frame.num_codes,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Drawn(frame, (tuple(codes),), seed)


def check_alone_as_in_company(tested: Painter) -> None:
    images = [drawn(1), drawn(2, WIDE), drawn(3), drawn(4, WIDE)]
    together = tested(images)
    for image, pixels in zip(images, together, strict=True):
        assert torch.equal(tested([image])[0], pixels)


def test_painted_one_by_one_an_image_is_the_same_in_company() -> None:
    check_alone_as_in_company(painter())


def test_the_check_catches_noise_that_images_share(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = generator("cpu", 0)
    monkeypatch.setattr("illume.generate.draw.generator", lambda *_: shared)
    with pytest.raises(AssertionError):
        check_alone_as_in_company(painter(together=4))


@pytest.mark.parametrize("together", [1, 4])
def test_pictures_have_the_size_of_their_frames_in_the_order_given(together: int) -> None:
    pictures = painter(together).pictures([drawn(1), drawn(2, WIDE), drawn(3)])
    assert [picture.size for picture in pictures] == [SIZE, (8, 4), SIZE]


def test_painted_together_each_image_has_noise_of_its_own() -> None:
    images = [drawn(1), drawn(2), drawn(3)]
    for alone, together in zip(painter(1)(images), painter(4)(images), strict=True):
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_nothing_to_paint_is_no_picture() -> None:
    assert painter()([]) == []


def test_what_is_not_drawn_yet_is_as_in_a_blank_picture() -> None:
    tested, whole = painter(), drawn(1, WIDE)
    levels = tested.tokenizer.encode(torch.ones(1, 3, 4, 8))
    blank = tuple(tuple(level.flatten().tolist()) for level in levels)
    assert tested.completed(whole) == whole
    assert tested.completed(replace(whole, codes=((),))).codes == blank
    half = tested.completed(replace(whole, codes=(whole.codes[0][:4],)))
    assert half.codes == (whole.codes[0][:4] + blank[0][4:],)
    assert (half.frame, half.seed) == (whole.frame, whole.seed)
