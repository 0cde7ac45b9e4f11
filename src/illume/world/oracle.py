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
from illume.world.scene import COLOURS, Object, Scene, WorldConfig, arrange
from illume.world.specs import Finding, Spec, Verdict, verdict

Floats = npt.NDArray[np.float32]

_SLACK = 1.0  # pixels beyond the jitter at which an object still counts as standing in its cell
_SCALES = (0.93, 1.0, 1.07)
_FAINT = 45.0  # a match of less contrast than this (of at most 440) is no object
_EXPLAINED = 0.80  # the share of a cell's contrast energy that its object must explain
_COLOUR = 75.0  # the furthest a colour may lie from its name, and never further than half-way to the next
_RESIDUAL = 75.0  # contrast left unexplained anywhere, averaged over 3x3 pixels


@dataclass(frozen=True)
class Reading:
    """The objects that were recognised, and what is wrong with the picture as one of this world (None: nothing)."""

    scene: Scene
    problem: str | None = None


@dataclass(frozen=True)
class _Templates:
    """Coverage windows [t, p] of unit norm, the weights [t, p] that read a colour off, and what each shows."""

    windows: Floats
    cores: Floats
    what: tuple[tuple[str, str, tuple[float, float]], ...]  # shape, size, offset
    reach: int


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
    views = [_window(contrast, config, cell, reach) for cell in config.cells]
    cells = np.stack([view.reshape(-1, 3) for view in views])  # [c, p, 3]
    amplitudes = np.tensordot(templates.windows, cells, axes=(1, 1))  # [t, c, 3]
    explained = np.square(amplitudes).sum(-1)
    best = explained.argmax(0)
    things, problems = [], []
    for i, cell in enumerate(config.cells):
        t = best[i]
        amplitude = templates.cores[t] @ cells[i]
        if np.linalg.norm(amplitude) < _FAINT:
            continue  # nothing here; if there is something after all, it is left as a residual
        thing, problem = _recognise(amplitude, templates.what[t], cell, config)
        things.append(thing)
        energy = np.square(cells[i]).sum()
        problems += [problem] if problem else []
        if explained[t, i] < _EXPLAINED * energy:
            problems.append(f"no clear shape at the {config.place(cell)}")
        fitted = templates.windows[t][:, None] * amplitudes[t, i]
        views[i] -= fitted.reshape(views[i].shape)
    if not problems and _largest_mean(inner) > _RESIDUAL:
        problems.append("something else is there")
    return Reading(arrange(things), problems[0] if problems else None)


def _recognise(
    amplitude: Floats, what: tuple[str, str, tuple[float, float]], cell: tuple[int, int], config: WorldConfig
) -> tuple[Object, str | None]:
    """The object of a fitted colour and template, and a problem where the colour is none of this world's."""
    names, palette, limit = _palette(config)
    distances = np.linalg.norm(palette - (amplitude + np.asarray(config.background)), axis=1)
    nearest = int(distances.argmin())
    shape, size, (x, y) = what
    offset = (math.floor(x + 0.5), math.floor(y + 0.5))
    thing = Object(shape, names[nearest], size, cell, offset)
    return thing, None if distances[nearest] <= limit else f"no known color at the {config.place(cell)}"


def _window(contrast: Floats, config: WorldConfig, cell: tuple[int, int], reach: int) -> Floats:
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
    """The colours' names, their values [k, 3], and how far a colour may lie from its name."""
    palette = np.array([COLOURS[name] for name in config.colours], np.float32)
    closest = min(float(np.linalg.norm(a - b)) for a, b in combinations(palette, 2))
    return config.colours, palette, min(_COLOUR, closest / 2)


@lru_cache(maxsize=16)
def _templates(config: WorldConfig) -> _Templates:
    """All shapes, sizes and scales at half-pixel offsets up to the jitter and a little more."""
    farthest = config.jitter + _SLACK
    offsets = np.arange(-farthest, farthest + 0.25, 0.5)
    reach = math.ceil(max(config.extent(size) for size in config.sizes) * max(_SCALES) / 2 + farthest)
    windows, what = [], []
    for shape, size, scale, x, y in product(config.shapes, config.sizes, _SCALES, offsets, offsets):
        windows.append(coverage(shape, config.extent(size) * scale, reach, (float(x), float(y))))
        what.append((shape, size, (float(x), float(y))))
    cores = np.stack([_core(window).ravel() for window in windows])
    flat = np.stack(windows).reshape(len(windows), -1)
    return _Templates(flat / np.linalg.norm(flat, axis=1, keepdims=True), cores, tuple(what), reach)


def _core(window: Coverage) -> Floats:
    """Weights for the mean colour of a shape's innermost pixels, which a blur reaches last."""
    means = np.stack([np.roll(window, (i, j), (0, 1)) for i, j in product((-1, 0, 1), repeat=2)]).mean(0)
    weights = np.maximum(means - 0.9 * means.max(), 0)
    return (weights / (weights * window).sum()).astype(np.float32)
