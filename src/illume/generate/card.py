"""The README.md of a model folder, written from the model itself; it knows no results."""

from illume.models.unified import Unified
from illume.vocab.layout import VocabLayout

_CARD = """---
library_name: illume
pipeline_tag: any-to-any
---
# {name}

An ILLUME model (arXiv 2412.06673): one language model that reads images, answers about them, draws, edits and assesses
them.

| | |
|---|---|
| parameters | {parameters:,} |
| language model | {layers} layers, width {width} |
| vocabulary | {text:,} text ids, {levels} image codes |
| images | {height} x {width_px} pixels, read as {reading} |

```python
import illume

model = illume.load("{name}")
model.draw("a red circle")[0].save("out.png")
print(model.chat("What is in the image?", images=["out.png"]))
```

Files: `config.json` (with the vocabulary, the chat template and the sampling defaults), `model.safetensors`,
`tokenizer.json`, `vision_tokenizer/` (images to codes and back to features), `pixel_decoder/` (features to pixels).
Nothing in this folder is a pickle.
"""


def model_card(name: str, model: Unified, layout: VocabLayout, image_size: tuple[int, int], reading: str) -> str:
    """What the model is, and how it is used."""
    decoder = model.config.decoder
    return _CARD.format(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=decoder.layers,
        width=decoder.width,
        text=layout.text_size,
        levels=" + ".join(f"{size:,}" for size in layout.levels),
        height=image_size[0],
        width_px=image_size[1],
        reading=reading,
    )
