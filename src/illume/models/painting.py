"""Which pixel decoder a configuration or a folder names: one literal table; it does not know how any of them paints."""

from pathlib import Path

from illume.core.errors import ModelError
from illume.models.convolutional import ConvolutionalDecoderConfig, ConvolutionalPixelDecoder
from illume.models.folder import distrusted, read_config
from illume.models.pixel_decoder import FORMAT_VERSION, DiffusionDecoderConfig, DiffusionPixelDecoder, PixelDecoder
from illume.models.stable_diffusion import StableDiffusionDecoderConfig, StableDiffusionPixelDecoder

PixelDecoderConfig = DiffusionDecoderConfig | StableDiffusionDecoderConfig | ConvolutionalDecoderConfig

PIXEL_DECODERS: dict[str, type[PixelDecoder]] = {
    "diffusion": DiffusionPixelDecoder,
    "stable_diffusion": StableDiffusionPixelDecoder,
    "convolutional": ConvolutionalPixelDecoder,
}


def build_pixel_decoder(config: PixelDecoderConfig, dims: tuple[int, ...]) -> PixelDecoder:
    """A pixel decoder for features of these widths, as its training starts: new, or from published weights."""
    if isinstance(config, StableDiffusionDecoderConfig):
        return StableDiffusionPixelDecoder.start(config, dims)
    return shaped_pixel_decoder(config, dims)


def shaped_pixel_decoder(config: PixelDecoderConfig, dims: tuple[int, ...]) -> PixelDecoder:
    """The same modules, without the published weights."""
    match config:
        case StableDiffusionDecoderConfig():
            return StableDiffusionPixelDecoder.shaped(config, dims)
        case ConvolutionalDecoderConfig():
            return ConvolutionalPixelDecoder(config, dims)
        case DiffusionDecoderConfig():
            return DiffusionPixelDecoder(config, dims)


def load_pixel_decoder(folder: str | Path) -> PixelDecoder:
    """The pixel decoder of a folder, whichever kind its config.json says. ModelError where it is of none."""
    path = Path(folder) / "config.json"
    with distrusted(path, "not the sizes of a pixel decoder"):
        kind = read_config(path, FORMAT_VERSION).get("pixel_decoder", {}).get("kind")
        if kind not in PIXEL_DECODERS:
            raise ModelError(f"{path}: a pixel decoder of kind {kind!r}; known are {', '.join(PIXEL_DECODERS)}")
        return PIXEL_DECODERS[kind].load(folder)
