"""The form of POST /v1/images/edits, read in memory: what a client sends never becomes a file.

It does not know what is drawn of it.
"""

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from illume.serve.conversation import File
from illume.serve.errors import bad, of_fields
from illume.serve.schema import MOST_PROMPT, ImageEdit

_MOST_FIELDS, _MOST_FILES = 40, 20
_IMAGES = ("image", "image[]")
FORM: dict[str, Any] = {"content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/ImageEditForm"}}}}
"""What OpenAPI says of this body."""


class InMemory(MultiPartParser):
    """Starlette's parser, but that large files stay in memory, where the limit of a body bounds them."""

    spool_max_size = sys.maxsize


async def read_edit(request: Request) -> tuple[ImageEdit, File, File | None]:
    """The fields, the image and the mask. ApiError 400 for what is no such form."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise bad("send a form, as multipart/form-data, with the file `image`")
    parser = InMemory(
        request.headers,
        request.stream(),
        max_files=_MOST_FILES,
        max_fields=_MOST_FIELDS,
        max_part_size=4 * MOST_PROMPT,  # bytes of a character
    )
    try:
        items = (await parser.parse()).multi_items()
    except (MultiPartException, UnicodeDecodeError) as error:
        raise bad(f"the form cannot be read: {getattr(error, 'message', 'it is no UTF-8')}") from error
    files = [(name, await value.read()) for name, value in items if isinstance(value, UploadFile)]
    return _fields([(name, value) for name, value in items if isinstance(value, str)]), *_images(files)


def form_schema() -> dict[str, Any]:
    """What a form may hold, as a JSON Schema."""
    schema = ImageEdit.model_json_schema()
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    schema["properties"] |= {"image": file, "image[]": {"type": "array", "items": file, "maxItems": 1}, "mask": file}
    schema["anyOf"] = [{"required": [name]} for name in _IMAGES]
    return schema


def _fields(fields: Sequence[tuple[str, str]]) -> ImageEdit:
    plain: dict[str, str] = {}
    for name, value in fields:
        if name in (*_IMAGES, "mask"):
            raise bad(f"{name}: is a file: give it a file name", name)
        if name in plain:
            raise bad(f"{name!r:.100}: is there twice", f"{name:.100}")
        if value:  # an empty field of a form says nothing
            plain[name] = value
    try:
        return ImageEdit.model_validate(plain)
    except ValidationError as error:
        raise of_fields(error.errors(include_url=False, include_input=False)) from error


def _images(files: Sequence[tuple[str, bytes]]) -> tuple[File, File | None]:
    images = [File(data, "image") for name, data in files if name in _IMAGES]
    masks = [File(data, "mask") for name, data in files if name == "mask"]
    unknown = [name for name, _ in files if name not in (*_IMAGES, "mask")]
    if unknown:
        raise bad(f"unknown file: {unknown[0]!r:.100}", f"{unknown[0]:.100}", "unknown_parameter")
    if not images:
        raise bad("image: there is none: send it as a file", "image", "missing_required_parameter")
    if len(images) > 1 or len(masks) > 1:
        raise bad(f"this model edits one image with one mask at a time, not {len(images)} and {len(masks)}", "image")
    return images[0], masks[0] if masks else None
