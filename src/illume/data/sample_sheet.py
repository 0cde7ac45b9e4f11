"""Records as a page for a person, their pictures beside their texts: a .png, or an .html that shows any script.

What is worth showing is chosen by check.py.
"""

import base64
import html
import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from illume.core.errors import UsageError
from illume.core.files import write_bytes, write_text
from illume.data.folder_files import Files
from illume.data.records import Record
from illume.images import ops

SUFFIXES = (".png", ".html")
NUM_SAMPLES = 16  # records on a sheet, unless said otherwise
_CELL = 128  # pixels a side of a shown picture
_COLUMNS = 4  # records side by side in a .png
_SIGNS, _LINES, _LINE = 40, 6, 13  # signs a line, lines a record, pixels a line
_WIDTH = 2 * _CELL + 4  # of a record: two pictures side by side, for most have one or two
_LONGEST = 600  # signs of one text in an .html

Part = Image.Image | str  # a picture, or a text with who says it


def check_suffix(out: Path) -> None:
    """UsageError unless a sheet of samples can be written there."""
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{out}: write samples as {' or '.join(SUFFIXES)}")


def write_samples(out: Path, records: Sequence[Record], files: Files) -> None:
    """A sheet of records, whose images are names of `files`."""
    check_suffix(out)
    shown = [(record, list(parts_of(record, files))) for record in records]
    if out.suffix.lower() == ".html":
        write_text(out, _html(shown))
        return
    buffer = io.BytesIO()
    _sheet(shown).save(buffer, "PNG")
    write_bytes(out, buffer.getvalue())


def parts_of(record: Record, files: Files) -> Iterator[Part]:
    """A record's pictures and texts in the order in which they are said."""

    def picture(index: int) -> Image.Image:
        file = record.images[index]
        return ops.decode(files.read(file), files.place(file))

    if record.messages:
        for turn in record.messages:
            for part in turn.parts:
                yield f"{turn.role}: {part}" if isinstance(part, str) else picture(part)
        return
    yield from (picture(index) for index in range(len(record.images)))
    if record.mask is not None:  # the source is shown behind it, as a model sees it
        yield f"mask: {record.mask if isinstance(record.mask, str) else list(record.mask)}"
    for text in (record.text, record.instruction, "" if record.verdict is None else record.verdict.to_json()):
        if text:
            yield text


def _html(shown: Sequence[tuple[Record, list[Part]]]) -> str:
    sections = "\n".join(
        f"<section><h2>{html.escape(record.task)} <small>{html.escape(record.where)}</small></h2>"
        f"{''.join(_html_part(part) for part in parts)}</section>"
        for record, parts in shown
    )
    style = (
        "body{font:15px sans-serif;display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}"
        f"section{{border:1px solid #ccc;padding:.5rem}}h2{{font-size:1rem}}img{{max-width:{_CELL}px}}"
    )
    head = f'<meta charset="utf-8"><title>samples</title><style>{style}</style>'
    return f"<!doctype html><html>{head}{sections}</html>\n"


def _html_part(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(textwrap.shorten(part, _LONGEST, placeholder=' ...'))}</p>"
    buffer = io.BytesIO()
    _small(part).save(buffer, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}" alt=""> '


def _sheet(shown: Sequence[tuple[Record, list[Part]]]) -> Image.Image:
    cells = [_cell(record, parts) for record, parts in shown] or [Image.new("RGB", (_WIDTH, _LINE), "white")]
    height = max(cell.height for cell in cells) + 8
    columns = min(_COLUMNS, len(cells))
    sheet = Image.new("RGB", (columns * (_WIDTH + 8), -(-len(cells) // columns) * height), "white")
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * (_WIDTH + 8), number // columns * height))
    return sheet


def _cell(record: Record, parts: Sequence[Part]) -> Image.Image:
    """One record: its pictures in rows of two, its texts below."""
    pictures = [_small(part) for part in parts if not isinstance(part, str)]
    texts = [f"[{record.task}]", *(part for part in parts if isinstance(part, str))]
    lines = [line for text in texts for line in textwrap.wrap(text, _SIGNS)]
    lines = lines if len(lines) <= _LINES else [*lines[: _LINES - 1], "..."]
    rows = -(-len(pictures) // 2)
    cell = Image.new("RGB", (_WIDTH, rows * (_CELL + 4) + (len(lines) + 1) * _LINE), "white")
    for number, picture in enumerate(pictures):
        cell.paste(picture, (number % 2 * (_CELL + 4), number // 2 * (_CELL + 4)))
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default()
    for number, line in enumerate(lines):
        draw.text((2, rows * (_CELL + 4) + number * _LINE), _drawable(line, font), fill="black", font=font)
    return cell


def _small(picture: Image.Image) -> Image.Image:
    """The picture inside a square of `_CELL`: smaller than it was, or a whole number of times larger."""
    width, height = picture.size
    if times := _CELL // max(width, height):
        return picture.resize((width * times, height * times), Image.Resampling.NEAREST)
    return ops.fit(picture, _CELL, "contain")


def _drawable(line: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """What the font cannot draw, as a question mark."""
    if isinstance(font, ImageFont.FreeTypeFont):
        return line
    return line.encode("latin-1", "replace").decode("latin-1")
