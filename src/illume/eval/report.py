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

from illume.core.checkpoint import write_text
from illume.eval.task import Example, Picture

SHOWN_PIXELS = 96  # the side at which a small picture is shown, by whole multiples


def write_report(
    path: Path,
    title: str,
    card: Mapping[str, Any],
    examples: Mapping[str, Sequence[Example]],
    metrics: Sequence[Mapping[str, Any]],
    notes: Sequence[str] = (),
    limit: int = 24,
) -> None:
    """Write report.html. metrics: the rows of metrics.jsonl; limit: how many examples of each ability are shown."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["picture"] = data_uri
    template = environment.from_string(
        resources.files("illume.eval").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    rows = {name: row for name, row in card.items() if isinstance(row, Mapping) and "score" in row}
    page = template.render(
        title=title,
        card=card,
        rows=rows,
        examples={name: list(some)[:limit] for name, some in examples.items()},
        curves={part: loss_curve(part, rows) for part, rows in by_part(metrics).items()},
        notes=notes,
    )
    write_text(path, page)


def by_part(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows that carry a loss, by the part of the run that wrote them, in order."""
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for row in metrics:
        if "loss" in row and "part" in row:
            parts.setdefault(str(row["part"]), []).append(row)
    return parts


def loss_curve(part: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A loss curve as inline SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=1.0, color="#3465a4")
    axes.set_title(part, fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel("loss", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
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
