"""The report: one self-contained web page with a run's figures, pictures and loss curves.

It shows what it is given and measures nothing.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from illume.core.files import write_text
from illume.core.streams import stream
from illume.eval.metrics import BEST_PSNR
from illume.eval.scorecard import ABILITIES
from illume.eval.task import Example, Picture

SHOWN_PIXELS = 128  # the side at which a small picture is shown, by whole multiples
Fields = Mapping[str, Any]


def write_report(
    path: Path,
    title: str,
    card: Fields,
    examples: Mapping[str, Sequence[Example]],
    metrics: Sequence[Fields],
    notes: Sequence[str] = (),
    limit: int = 24,
) -> None:
    """Write report.html. metrics: the rows of metrics.jsonl; limit: how many examples of each ability are shown."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    source = resources.files("illume.eval").joinpath("report.html.jinja").read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        title=title,
        card=card,
        rows={name: card[name] for name in ABILITIES if name in card},
        total=sum(card["seconds"].values()),
        examples={name: picked(name, some, limit) for name, some in examples.items()},
        answered={name: len(some) for name, some in examples.items()},
        curves={part: loss_curve(part, rows) for part, rows in by_part(metrics).items()},
        notes=notes,
    )
    write_text(path, page)


def picked(name: str, examples: Sequence[Example], limit: int) -> list[Example]:
    """At most `limit` of the examples, in their order: by chance, so that nobody's favourites are shown."""
    chosen = stream("report", name).sample(range(len(examples)), min(limit, len(examples)))
    return [examples[index] for index in sorted(chosen)]


def by_part(metrics: Sequence[Fields]) -> dict[str, list[Fields]]:
    """The rows that carry a loss, by the part of the run that wrote them, in order."""
    parts: dict[str, list[Fields]] = {}
    for row in metrics:
        if "loss" in row and "part" in row:
            parts.setdefault(str(row["part"]), []).append(row)
    return parts


def loss_curve(part: str, rows: Sequence[Fields]) -> str:
    """A loss curve as inline SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 2.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=1.2, color="#2f6f8f")
    axes.set_title(part.replace("_", " "), fontsize=9, loc="left")
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def data_uri(picture: Picture) -> str:
    """A picture as a PNG inside the page, enlarged by a whole factor so that its pixels stay what they are."""
    image = Image.fromarray(picture)
    factor = max(1, SHOWN_PIXELS // max(image.size))
    buffer = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def figure_text(value: float, name: str = "") -> str:
    """A figure as a person reads it: shares in percent, signal-to-noise ratios in dB, kappa as it is."""
    if name == "kappa":
        return f"{value:.2f}"
    return f"{value:.1f} dB" if in_decibels(name, value) else f"{100 * value:.1f}%"


def in_decibels(name: str, value: float) -> bool:
    """Whether a figure is a signal-to-noise ratio: so it is called, or too large for a share."""
    return "psnr" in name or (value > 1 and name != "perplexity")


def share(value: float, row: Fields) -> float:
    """How far along its bar a figure of this row reaches, in percent."""
    return bar(value, in_decibels("", row["score"]))


def share_of(value: float, name: str) -> float:
    """The same of a figure that stands for itself."""
    return bar(value, in_decibels(name, value))


def bar(value: float, decibels: bool) -> float:
    return round(100 * min(max(value / (BEST_PSNR if decibels else 1), 0), 1), 2)


def comparable(baseline: Mapping[str, float], row: Fields) -> list[float]:
    """The baselines of the row's own score: not those of figures beside it, nor ceilings."""
    same = {n: v for n, v in baseline.items() if in_decibels(n, v) == in_decibels("", row["score"])}
    return [value for name, value in same.items() if name != "real image"]


def meaning(ability: str, row: Fields) -> str:
    """What a row's score says, in a line. A person's own images are measured otherwise than the generated world."""
    own = "exact" in row["by"] or "R@5" in row["by"] or in_decibels("", row["score"])
    return (OWN_MEANINGS if own else MEANINGS).get(ability, "")


def duration(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


MEANINGS = {
    "see": "of questions about pictures answered right",
    "draw": "of drawings show exactly what was asked",
    "reconstruct": "of pictures come back exactly from their codes",
    "edit": "of edits done, and all else kept",
    "edit_turns": "of scenes right after three edits in a row",
    "inpaint": "of masked regions painted as asked, the rest kept",
    "assess": "of pictures judged right against a prompt",
    "text": "is the probability of a held-out text's next word",
}
OWN_MEANINGS = {
    "see": "of words shared by its captions and the real ones (F1)",
    "draw": "of drawings lead back to their own caption first (R@1)",
    "reconstruct": "likeness of pictures rebuilt from their codes (PSNR)",
    "edit": "likeness of edited pictures to what they should be (PSNR)",
    "inpaint": "likeness of masked regions to what they should be (PSNR)",
}
FILTERS: Mapping[str, Any] = {
    "picture": data_uri,
    "figure": figure_text,
    "share": share,
    "share_of": share_of,
    "comparable": comparable,
    "meaning": meaning,
    "duration": duration,
    "words": lambda name: name.replace("_", " "),
}
