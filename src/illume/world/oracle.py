"""Picture to scene: reads a drawn picture back, or says why it is none of this world; it does not know who drew it.

Every cell is matched with all shapes in all sizes at half-pixel offsets, by least squares over the colour; then the
scene so found must explain the picture everywhere. A little blur, noise and ringing, as a neural painter leaves them,
averages out; anything else that should not be there stays behind as a residual and rejects the picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from illume.core.errors import DataError
from illume.world.render import Array, Coverage, coverage
from illume.world.scene import COLOURS, Cell, Object, Scene, WorldConfig, arrange
from illume.world.specs import Spec
from illume.world.verdicts import Finding, Verdict, verdict

Floats = npt.NDArray[np.float32]

_SLACK = 1.0  # pixels beyond the jitter at which an object still counts as standing in its cell
_SCALES = (0.93, 1.0, 1.07)
_FAINT = 45.0  # a match of less contrast than this (of at most 440) is no object
_EXPLAINED = 0.80  # the share of a cell's contrast energy that its object must explain
_COLOUR = 0.5  # how far a colour may lie from its name, as a share of the same distance
_RESIDUAL = 0.42  # contrast left unexplained, averaged over 3x3 pixels, as a share of the least colour distance


_BLUR = ((-2, 0.03), (-1, 0.23), (1, 0.23), (2, 0.03))  # a Gaussian of 0.8 pixels, but for its middle


@dataclass(frozen=True)
class Reading:
    """The objects that were recognised, and what is wrong with the picture as one of this world (None: nothing)."""

    scene: Scene
    problem: str | None = None


@dataclass(frozen=True)
class _Templates:
    """Coverage windows [t, p] of unit norm, sharp and soft, the weights [t, p] that read colours, what each shows."""

    windows: Floats
    soft: Floats
    cores: Floats
    what: tuple[tuple[str, str, tuple[float, float]], ...]  # shape, size, offset
    reach: int
    least: float  # the contrast energy below which a cell shows nothing


def read(picture: Array, config: WorldConfig) -> Reading:
    """What a picture [size, size, 3] shows."""
    return read_all([picture], config)[0]


def read_all(pictures: Sequence[Array] | Array, config: WorldConfig) -> list[Reading]:
    """`read` of many pictures. Raises DataError for a wrong shape or type."""
    shape = (config.size, config.size, 3)
    for picture in pictures:
        if picture.shape != shape or picture.dtype != np.uint8:
            raise DataError(f"the oracle reads uint8 pictures {shape}, not {picture.dtype} {picture.shape}")
    return [_read(picture, config) for picture in pictures]


def check(picture: Array, spec: Spec, config: WorldConfig) -> Verdict:
    """The verdict on a picture; one that is not of this world fails every applicable criterion."""
    seen = read(picture, config)
    findings = verdict(spec, seen.scene)
    if seen.problem is None:
        return findings
    return {name: Finding(True, False, seen.problem) if f.applicable else f for name, f in findings.items()}


def same(picture: Array, scene: Scene, config: WorldConfig, tolerance: float = 2.0) -> bool:
    """Whether a picture shows exactly this scene, each object within `tolerance` pixels of its place."""
    seen = read(picture, config)
    if seen.problem is not None or len(seen.scene) != len(scene):
        return False
    return all(_alike(a, b, tolerance) for a, b in zip(seen.scene, scene, strict=True))


def _alike(a: Object, b: Object, tolerance: float) -> bool:
    off = max(abs(a.offset[0] - b.offset[0]), abs(a.offset[1] - b.offset[1]))
    return (a.pair, a.size, a.cell) == (b.pair, b.size, b.cell) and off <= tolerance


def _read(picture: Array, config: WorldConfig) -> Reading:
    templates = _templates(config)
    reach = templates.reach
    contrast = np.zeros((config.size + 2 * reach, config.size + 2 * reach, 3), np.float32)  # a margin of background
    inner = contrast[reach:-reach, reach:-reach]
    inner[:] = picture
    inner -= np.asarray(config.background, np.float32)
    occupied = [cell for cell in config.cells if _energy(_window(contrast, config, cell, reach)) > templates.least]
    things, problems = [], []
    for cell, t in zip(occupied, _best(contrast, occupied, config), strict=True):
        view = _window(contrast, config, cell, reach)
        values = view.reshape(-1, 3)
        amplitude = templates.cores[t] @ values
        if np.linalg.norm(amplitude) < _FAINT:
            continue  # nothing here; if there is something after all, it is left as a residual
        thing, problem = _recognise(amplitude, templates.what[t], cell, config)
        things.append(thing)
        problems += [problem] if problem else []
        fitted = max((_fit(values, kind[t]) for kind in (templates.windows, templates.soft)), key=_energy)
        if _energy(fitted) < _EXPLAINED * _energy(values):
            problems.append(f"no clear shape at the {config.place(cell)}")
        view -= fitted.reshape(view.shape)
    if not problems and _largest_mean(inner) > _RESIDUAL * _palette(config)[2]:
        problems.append("something else is there")
    return Reading(arrange(things), problems[0] if problems else None)


def _best(contrast: Floats, cells: Sequence[Cell], config: WorldConfig) -> list[int]:
    """For every cell the template that explains most of its contrast."""
    if not cells:
        return []
    templates = _templates(config)
    windows = [_window(contrast, config, cell, templates.reach).reshape(-1, 3) for cell in cells]
    amplitudes = templates.windows @ np.concatenate(windows, axis=1)  # [t, 3 c]
    explained = np.square(amplitudes).reshape(-1, len(cells), 3).sum(-1)
    return [int(t) for t in explained.argmax(0)]


def _recognise(
    amplitude: Floats, what: tuple[str, str, tuple[float, float]], cell: Cell, config: WorldConfig
) -> tuple[Object, str | None]:
    """The object of a fitted colour and template, and a problem where the colour is none of this world's."""
    names, palette, closest = _palette(config)
    distances = np.linalg.norm(palette - (amplitude + np.asarray(config.background)), axis=1)
    nearest = int(distances.argmin())
    shape, size, (x, y) = what
    offset = (math.floor(x + 0.5), math.floor(y + 0.5))
    thing = Object(shape, names[nearest], size, cell, offset)
    return thing, None if distances[nearest] <= _COLOUR * closest else f"no known color at the {config.place(cell)}"


def _fit(contrast: Floats, window: Floats) -> Floats:
    """The multiple [p, 3] of a window [p] of unit norm that is nearest to a contrast [p, 3]."""
    return window[:, None] * (window @ contrast)


def _energy(contrast: Floats) -> float:
    return float(np.square(contrast).sum())


def _window(contrast: Floats, config: WorldConfig, cell: Cell, reach: int) -> Floats:
    """A view of a cell's window in the picture with its margin."""
    x, y = config.centre(cell)
    return contrast[y : y + 2 * reach, x : x + 2 * reach]


def _largest_mean(residual: Floats) -> float:
    """The largest norm of the mean residual over 3x3 pixels: edges cancel, noise averages out."""
    rows = residual[:-2] + residual[1:-1] + residual[2:]
    means = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return float(np.sqrt(np.square(means).sum(-1).max()))


@lru_cache(maxsize=16)
def _palette(config: WorldConfig) -> tuple[tuple[str, ...], Floats, float]:
    """The colours' names, their values [k, 3], and the distance of the two nearest ones."""
    palette = np.array([COLOURS[name] for name in config.colours], np.float32)
    return config.colours, palette, min(float(np.linalg.norm(a - b)) for a, b in combinations(palette, 2))


@lru_cache(maxsize=16)
def _templates(config: WorldConfig) -> _Templates:
    """All shapes, sizes and scales at half-pixel offsets up to the jitter and a little more."""
    farthest = config.jitter + _SLACK
    offsets = np.arange(-farthest, farthest + 0.25, 0.5)
    reach = math.ceil(max(config.extent(size) for size in config.sizes) * max(_SCALES) / 2 + farthest)
    windows, what = [], []
    for shape, size, scale, x, y in product(config.shapes, config.sizes, _SCALES, offsets, offsets):
        windows.append(coverage(shape, config.extent(size) * scale, reach, (float(x), float(y)), fine=4))
        what.append((shape, size, (float(x), float(y))))
    cores = np.stack([_core(window).ravel() for window in windows])
    soft = _unit([_softened(window) for window in windows])
    least = _FAINT**2 * min(float(np.square(window).sum()) for window in windows)
    return _Templates(_unit(windows), soft, cores, tuple(what), reach, least)


def _unit(windows: list[Coverage]) -> Floats:
    flat = np.stack(windows).reshape(len(windows), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def _softened(window: Coverage) -> Coverage:
    """A window blurred as by a Gaussian of 0.8 pixels."""
    for axis in (0, 1):
        window = 0.48 * window + sum(w * np.roll(window, i, axis) for i, w in _BLUR)
    return window


def _core(window: Coverage) -> Floats:
    """Weights for the mean colour of a shape's innermost pixels, which a blur reaches last."""
    means = np.stack([np.roll(window, (i, j), (0, 1)) for i, j in product((-1, 0, 1), repeat=2)]).mean(0)
    weights = np.maximum(means - 0.9 * means.max(), 0)
    return (weights / (weights * window).sum()).astype(np.float32)
