"""What is in a picture, and which of some texts fits one best: transformers' detectors and CLIP, by folder or hub name.

Pictures are bytes as they are seen; how a model wants them is read from its own folder. It knows neither prompts nor
what a detection is good for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoTokenizer,
    CLIPModel,
    Mask2FormerConfig,
    Mask2FormerModel,
    Mask2FormerPreTrainedModel,
)

from illume.models.detection import Box, Detection
from illume.models.folder import distrusted

_MOST_SEGMENTS = 100  # what mmdetection keeps of a picture, best first


class Segmenter(Mask2FormerPreTrainedModel):
    """Mask2Former as published for transformers, without its loss, which alone would need scipy."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__(config)
        self.model = Mask2FormerModel(config)
        self.class_predictor = nn.Linear(config.hidden_dim, len(config.id2label or {}) + 1)
        self._keys_to_ignore_on_load_unexpected = [r"^criterion\."]
        self.post_init()

    def forward(
        self, pixel_values: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b q k"], Float[Tensor, "b q _ _"]]:
        """Logits of the classes of each query, the last one "nothing", and of its mask."""
        seen = self.model(pixel_values=pixel_values, output_hidden_states=True)
        queries = rearrange(seen.transformer_decoder_intermediate_states[-1], "q b d -> b q d")
        return self.class_predictor(queries), seen.masks_queries_logits[-1]


class Detector:
    """An object detector (DETR, YOLOS, RT-DETR, ...) or an instance segmenter (Mask2Former, GenEval's own)."""

    def __init__(self, model: nn.Module, processor: Any, labels: Mapping[int, str]) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.labels = dict(labels)

    @torch.inference_mode()
    def detect(self, pictures: UInt8[np.ndarray, "b h w 3"]) -> list[list[Detection]]:
        """What each picture shows, surest first; nothing is left out for being unsure."""
        size = (pictures.shape[1], pictures.shape[2])
        made = self.processor(images=list(pictures), return_tensors="pt", input_data_format="channels_last")
        seen = self.model(pixel_values=made["pixel_values"].to(_where(self.model)))
        found = self._segments(seen, size) if isinstance(seen, tuple) else self._boxes(seen, size, len(pictures))
        return [sorted(one, key=lambda detection: -detection.score) for one in found]

    def _boxes(self, seen: Any, size: tuple[int, int], number: int) -> list[list[Detection]]:
        rows = self.processor.post_process_object_detection(seen, threshold=-1.0, target_sizes=[size] * number)
        return [self._of_rows(row) for row in rows]

    def _of_rows(self, row: Mapping[str, Tensor]) -> list[Detection]:
        rows = zip(row["labels"].tolist(), row["scores"].tolist(), row["boxes"].tolist(), strict=True)
        return [Detection(self.labels[label], score, _box(box)) for label, score, box in rows]

    def _segments(self, seen: tuple[Tensor, Tensor], size: tuple[int, int]) -> list[list[Detection]]:
        return [self._of_queries(classes, masks, size) for classes, masks in zip(*seen, strict=True)]

    def _of_queries(
        self, classes: Float[Tensor, "q k"], masks: Float[Tensor, "q _ _"], size: tuple[int, int]
    ) -> list[Detection]:
        """The best (query, class) pairs, as in Mask2Former's instance inference: sure of the class and of the mask."""
        chances = classes.softmax(-1)[:, :-1]  # the last class is: nothing
        scores, places = chances.flatten().topk(min(_MOST_SEGMENTS, chances.numel()))
        queries, labels = places // chances.shape[1], places % chances.shape[1]
        large = nn.functional.interpolate(masks[None], size, mode="bilinear", align_corners=False)[0]
        inside = large > 0
        sure = reduce(large.sigmoid() * inside, "q h w -> q", "sum") / reduce(inside, "q h w -> q", "sum").clamp(min=1)
        scores = scores * sure[queries]
        found = zip(queries.tolist(), labels.tolist(), scores.tolist(), strict=True)
        shapes = inside.cpu().numpy()
        return [
            Detection(self.labels[label], score, _around(shapes[query]), shapes[query])
            for query, label, score in found
            if shapes[query].any()
        ]


class Matcher:
    """CLIP (Radford et al. 2021): pictures and texts as vectors of one space."""

    def __init__(self, model: CLIPModel, processor: Any, tokenizer: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Of unit length."""
        made = self.tokenizer(list(texts), padding=True, return_tensors="pt").to(_where(self.model))
        return _unit(self.model.get_text_features(**made).pooler_output)

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float[Tensor, "n d"]:
        """Of unit length."""
        made = self.processor(images=list(pictures), return_tensors="pt", input_data_format="channels_last")
        return _unit(self.model.get_image_features(made["pixel_values"].to(_where(self.model))).pooler_output)

    def classifier(self, wordings: Sequence[Sequence[str]]) -> Float[Tensor, "k d"]:
        """A class each for its wordings: the mean of their vectors, of unit length again (CLIP's prompt ensemble)."""
        rows = rearrange(
            self.texts([text for texts in wordings for text in texts]), "(k n) d -> k n d", k=len(wordings)
        )
        return _unit(reduce(rows, "k n d -> k d", "mean"))

    def best(self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], classifier: Float[Tensor, "k d"]) -> list[int]:
        """The class of each picture."""
        found: list[int] = (self.pictures(pictures) @ classifier.T).argmax(-1).tolist()
        return found


def load_detector(name: str | Path, device: torch.device | str = "cpu") -> Detector:
    """The detector of a folder or of a hub name. ModelError where it is none, or of a kind that is not read here."""
    with distrusted(name, "no object detector that transformers reads"):
        config = AutoConfig.from_pretrained(str(name))
        made = Segmenter if isinstance(config, Mask2FormerConfig) else AutoModelForObjectDetection
        model: Any = made.from_pretrained(str(name))
        processor = AutoImageProcessor.from_pretrained(str(name))
    return Detector(model.to(device), processor, config.id2label)


def load_matcher(name: str | Path, device: torch.device | str = "cpu") -> Matcher:
    """The CLIP of a folder or of a hub name. ModelError where it is none."""
    with distrusted(name, "no CLIP that transformers reads"):
        kind = AutoConfig.from_pretrained(str(name)).model_type
        if kind != "clip":
            raise ValueError(f"its model type is {kind!r}, not 'clip'")
        model: Any = CLIPModel.from_pretrained(str(name))
        return Matcher(
            model.to(device), AutoImageProcessor.from_pretrained(str(name)), AutoTokenizer.from_pretrained(str(name))
        )


def _where(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _unit(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return nn.functional.normalize(vectors.float(), dim=-1)


def _box(sides: Sequence[float]) -> Box:
    left, top, right, bottom = sides
    return left, top, right, bottom


def _around(mask: Bool[np.ndarray, "h w"]) -> Box:
    """The box around a mask that is not empty: the right and bottom sides lie outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
