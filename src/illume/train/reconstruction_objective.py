"""Training a reconstruction tokenizer and the decoder that paints its codes together, on pixels alone."""

from collections.abc import Mapping

from torch import nn

from illume.data.collate import ImageBatch
from illume.models.convolutional import ConvolutionalPixelDecoder, pixel_loss
from illume.models.reconstruction import ReconstructionTokenizer
from illume.train.objective import Loss


class ReconstructionObjective:
    """L1 + L2 on pixels and the quantiser's own loss; the perceptual and adversarial losses of VQGAN are left out.

    `steps` is the length of the training, of which the quantiser's phases are shares.
    """

    def __init__(self, tokenizer: ReconstructionTokenizer, decoder: ConvolutionalPixelDecoder, steps: int) -> None:
        self.tokenizer = tokenizer
        self.decoder = decoder
        self.steps = steps

    def modules(self) -> Mapping[str, nn.Module]:
        return {"tokenizer": self.tokenizer, "pixel_decoder": self.decoder}

    def size(self, batch: ImageBatch) -> int:
        """The images."""
        return len(batch.pixels)

    def loss(self, batch: ImageBatch) -> Loss:
        pixels, quantized = batch.pixels, self.tokenizer(batch.pixels)
        painted = self.decoder((quantized.quantised,), (pixels.shape[2], pixels.shape[3]))
        value = pixel_loss(painted, pixels)
        metrics = {"pixels": value.detach(), "quantizer": quantized.loss.detach(), **quantized.metrics}
        return Loss(value + quantized.loss, metrics)

    def after_step(self, step: int) -> None:
        """Let the codebook move."""
        self.tokenizer.after_step(step, self.steps)
