"""The items of a JSON list, or of JSON lines, as rows of a collection; it does not know what an item says."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from illume.core.errors import DataError
from illume.data.collection import Row
from illume.data.json_text import fields, items_of
from illume.data.records import Record


def item_rows(
    path: Path,
    what: str,
    read: Collection[str],
    ignored: dict[str, None],
    to_record: Callable[[Mapping[str, object], str], Record],
) -> Iterator[Row]:
    """Each item, `what` it is called in messages, as the record that `to_record` makes of its fields and place.

    The names of fields that are not among those `read` are noted in `ignored`. DataError where nothing can be read.
    """
    for where, item in items_of(path):
        try:
            found = fields(item, what)
            ignored.update(dict.fromkeys(name for name in found if name not in read))
            yield Row(where, to_record(found, where))
        except DataError as error:
            yield Row(where, error)
