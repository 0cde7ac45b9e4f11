"""Tables of named columns, CSV or JSON, each row with its file and line; what the columns mean is not known here."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from illume.core.errors import DataError
from illume.data.json_text import decoded, items_of, lines_of, text_of

TableRow = tuple[str, dict[str, object] | DataError]  # where; the columns, or why there are none
HeaderCheck = Callable[[list[str]], object]


def rows_of(path: Path, check_header: HeaderCheck = lambda header: None) -> Iterator[TableRow]:
    """The rows of a .csv, or of JSON lines or one JSON list. DataError for a header that `check_header` refuses."""
    yield from _csv_rows(path, check_header) if path.suffix.lower() == ".csv" else _json_rows(path)


def csv_header(path: Path) -> list[str]:
    """The columns of a CSV file."""
    where, line = next(lines_of(path))
    try:
        return next(csv.reader([decoded(line)], strict=True), [])
    except (DataError, csv.Error) as error:
        raise DataError(f"{where}: not a line of CSV: {error}") from None


def _json_rows(path: Path) -> Iterator[TableRow]:
    for where, item in items_of(path):
        if isinstance(item, dict | DataError):
            yield where, item
        else:
            yield where, DataError("a line has to be a JSON object")


def _csv_rows(path: Path, check_header: HeaderCheck) -> Iterator[TableRow]:
    """Rows by their header's names. A wrong header, or quotes that don't close, spoil the file: DataError at once."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        try:
            check_header(header)
        except DataError as error:
            raise DataError(f"{path}:1: {error}") from None
        if len(set(header)) < len(header):
            raise DataError(f"{path}:1: a column stands twice: {', '.join(header)}")
        start = reader.line_num + 1
        for row in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if len(row) == len(header):
                yield where, dict(zip(header, row, strict=True))
            else:
                yield (
                    where,
                    DataError(f"{len(row)} columns, but the header has {len(header)} (a comma without quotes?)"),
                )
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV: {error}") from None
