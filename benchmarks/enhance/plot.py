"""The picture of the experiment: drawing and seeing, arm by arm; a dot a seed, a stroke their mean."""

import io

from benchmarks.enhance.book import Book, Variant
from illume.core.config import plain_hash

SHOWN = ("draw", "draw novel", "see")
DOT, MEAN = "#8fb3c6", "#1f4f68"


def digest(book: Book) -> str:
    """Names the figures that a plot shows."""
    shown = {f"{v.label} {v.hash}": {name: _dots(v, name) for name in SHOWN} for v in book.variants}
    return plain_hash(shown)


def plot(book: Book) -> str:
    """As SVG, with the digest of its figures inside."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    variants = list(reversed(book.variants))
    with rc_context({"svg.hashsalt": "illume", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 0.8 + 0.32 * len(variants)), layout="constrained")
        FigureCanvasSVG(figure)
        for axes, name in zip(figure.subplots(1, len(SHOWN), sharey=True), SHOWN, strict=True):
            places = range(len(variants))
            for place, variant in zip(places, variants, strict=True):
                dots = list(_dots(variant, name).values())
                axes.plot(dots, [place] * len(dots), ".", color=DOT, markersize=6)
                axes.plot(variant.mean(name), place, "|", color=MEAN, markersize=11, markeredgewidth=2)
            axes.set_yticks(places, [v.label for v in variants], fontsize=8)
            axes.set_title(name, fontsize=9, loc="left")
            axes.grid(alpha=0.25)
            axes.tick_params(axis="x", labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Description": digest(book)})
    return "\n".join(text.rstrip() for text in buffer.getvalue().splitlines()) + "\n"


def _dots(variant: Variant, name: str) -> dict[str, float]:
    return {str(seed): score.score for seed, score in variant.scores(name).items()}
