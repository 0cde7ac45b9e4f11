"""Detectors and CLIP of transformers, read from folders: what they see is what transformers says they see."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, Mask2FormerForUniversalSegmentation

from fixtures.tiny_detectors import NAMES, save_clip, save_detr, save_mask2former, save_yolos, without_loss
from illume.core.errors import ModelError
from illume.models.detectors import Detector, Matcher, load_detector, load_matcher

Save = Callable[[Path], Path]
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 40, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("save", [save_yolos, save_detr, save_mask2former])
def test_a_detector_sees_all_it_can_surest_first(save: Save, tmp_path: Path) -> None:
    found = load_detector(save(tmp_path)).detect(PICTURES)
    assert len(found) == 3
    for detections in found:
        scores = [detection.score for detection in detections]
        assert scores == sorted(scores, reverse=True)
        assert {detection.label for detection in detections} <= set(NAMES.values())
        assert all(0 <= score <= 1 for score in scores)
        assert detections


@pytest.mark.parametrize("save", [save_yolos, save_detr])
def test_boxes_are_in_pixels_of_the_picture(save: Save, tmp_path: Path) -> None:
    detector = load_detector(save(tmp_path))
    large = PICTURES.repeat(2, axis=1).repeat(3, axis=2)  # the same, twice as high and three times as wide
    for small, grown in zip(detector.detect(PICTURES), detector.detect(large), strict=True):
        left, top, right, bottom = small[0].box
        assert np.allclose(grown[0].box, (3 * left, 2 * top, 3 * right, 2 * bottom), rtol=0.05)
        assert (len(small), small[0].mask) == (5, None)


def test_masks_have_the_pictures_size_and_boxes_go_around_them(tmp_path: Path) -> None:
    for detections in load_detector(save_mask2former(tmp_path)).detect(PICTURES):
        for detection in detections:
            mask = detection.mask
            assert mask is not None
            assert mask.shape == (40, 24)
            left, top, right, bottom = map(int, detection.box)
            assert mask[top:bottom, left:right].sum() == mask.sum() > 0
            for edge in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]):
                assert edge.any()


def test_segments_are_scored_as_transformers_scores_them(tmp_path: Path) -> None:
    """Its own post-processing works at 384 pixels; the same picture there has to come out alike."""
    detector = load_detector(save_mask2former(tmp_path))
    processor = AutoImageProcessor.from_pretrained(str(tmp_path))
    pictures = np.stack([np.asarray(Image.fromarray(p).resize((384, 384))) for p in PICTURES])
    made = processor(images=list(pictures), return_tensors="pt")
    with torch.inference_mode(), without_loss():
        model = Mask2FormerForUniversalSegmentation.from_pretrained(str(tmp_path)).eval()
        seen = model(pixel_values=made["pixel_values"])
    theirs = processor.post_process_instance_segmentation(
        seen, threshold=0.0, return_binary_maps=True, target_sizes=[(384, 384)] * 3
    )
    for ours, their in zip(detector.detect(pictures), theirs, strict=True):
        best = sorted((s["score"] for s in their["segments_info"]), reverse=True)
        assert np.allclose([d.score for d in ours][: len(best)], best, atol=2e-3)


def test_pictures_together_are_seen_as_alone(tmp_path: Path) -> None:
    detector = load_detector(save_yolos(tmp_path))
    for i, together in enumerate(detector.detect(PICTURES)):
        (alone,) = detector.detect(PICTURES[i : i + 1])
        assert np.allclose([d.score for d in alone], [d.score for d in together], atol=1e-5)


@pytest.fixture
def matcher(tmp_path: Path) -> Matcher:
    return load_matcher(save_clip(tmp_path))


def test_clip_is_transformers_clip(matcher: Matcher, tmp_path: Path) -> None:
    model = CLIPModel.from_pretrained(str(tmp_path))
    words = ["a red cat", "a blue-colored dog"]
    made = AutoTokenizer.from_pretrained(str(tmp_path))(words, padding=True, return_tensors="pt")
    looked = AutoImageProcessor.from_pretrained(str(tmp_path))(images=list(PICTURES), return_tensors="pt")
    with torch.inference_mode():
        expected = model(**made, **looked).logits_per_image.softmax(-1)
        ours = matcher.pictures(list(PICTURES)) @ matcher.texts(words).T * model.logit_scale.exp()
    assert torch.allclose(ours.softmax(-1), expected, atol=1e-5)
    assert matcher.best(list(PICTURES), matcher.texts(words)) == expected.argmax(-1).tolist()


def test_a_class_is_the_mean_of_its_wordings(matcher: Matcher) -> None:
    wordings = [["a red cat", "red"], ["a blue cat", "blue"]]
    rows = torch.stack([torch.nn.functional.normalize(matcher.texts(texts).mean(0), dim=0) for texts in wordings])
    assert torch.allclose(matcher.classifier(wordings), rows, atol=1e-6)


def test_crops_of_any_size_are_looked_at(matcher: Matcher) -> None:
    crops = [PICTURES[0, :1, :1], PICTURES[0, :1], PICTURES[0, :, :2], PICTURES[1]]
    assert len(matcher.best(crops, matcher.texts(["a", "b"]))) == 4


@pytest.mark.parametrize("load", [load_detector, load_matcher])
def test_what_is_no_such_model_is_said(load: Callable[[Path], Detector | Matcher], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=str(tmp_path)):
        load(tmp_path)
