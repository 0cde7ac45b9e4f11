"""The items of a response, as they grow: messages and drawn pictures, and the events that tell of each step.

It does not know the response around them, nor where the words and pictures come from.
"""

import uuid
from collections.abc import Iterator
from typing import Any

from illume.serve.job import Began, Event, Shown, Sketch, Words
from illume.serve.pictures import Format, as_base64

Told = dict[str, Any]
_CALL = "response.image_generation_call"


class Items:
    """The items so far; `finished` are those that will not change any more."""

    def __init__(self, format: Format) -> None:
        self.finished: list[Told] = []
        self._format = format
        self._open: Told | None = None
        self._text = ""

    def take(self, event: Event) -> Iterator[Told]:
        """What is to be told of what came."""
        if isinstance(event, Words):
            yield from self._say(event.text)
        elif isinstance(event, Began):
            yield from self._begin()
        elif isinstance(event, Sketch):
            yield from self._begin()
            about = {"partial_image_b64": as_base64(event.data), "partial_image_index": event.index}
            extra = {"output_format": self._format.kind, "rows": event.rows, "of": event.of}
            yield self._step(f"{_CALL}.partial_image", **about, **extra)
        elif isinstance(event, Shown):
            yield from self._begin()
            yield self._step(f"{_CALL}.completed")
            yield from self._close(status="completed", result=as_base64(event.data), output_format=self._format.kind)

    def end(self, cut: bool) -> Iterator[Told]:
        """The last item is finished, or, where the answer was cut, will never be; an answer has one at least."""
        if self._open is None and not self.finished:
            yield from self._open_message()
        if self._open is not None and self._open["type"] == "message":
            yield from self._end_message("incomplete" if cut else "completed")

    def _say(self, text: str) -> Iterator[Told]:
        if self._open is None:
            yield from self._open_message()
        self._text += text
        yield self._step("response.output_text.delta", content_index=0, delta=text, logprobs=[])

    def _begin(self) -> Iterator[Told]:
        """A picture, if it is not begun already."""
        if self._open is not None and self._open["type"] == "image_generation_call":
            return
        if self._open is not None:
            yield from self._end_message("completed")
        plain = {"type": "image_generation_call", "id": f"ig_{uuid.uuid4().hex}", "status": "in_progress"}
        yield self._opened({**plain, "result": None})
        yield self._step(f"{_CALL}.in_progress")
        yield self._step(f"{_CALL}.generating")

    def _open_message(self) -> Iterator[Told]:
        plain = {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "status": "in_progress", "role": "assistant"}
        self._text = ""
        yield self._opened({**plain, "content": []})
        yield self._step("response.content_part.added", content_index=0, part=_text(""))

    def _end_message(self, status: str) -> Iterator[Told]:
        yield self._step("response.output_text.done", content_index=0, text=self._text, logprobs=[])
        yield self._step("response.content_part.done", content_index=0, part=_text(self._text))
        yield from self._close(status=status, content=[_text(self._text)])

    def _opened(self, item: Told) -> Told:
        self._open = item
        return {"type": "response.output_item.added", "output_index": len(self.finished), "item": item}

    def _close(self, **last: Any) -> Iterator[Told]:
        assert self._open is not None  # called for what is open
        item = {**self._open, **last}
        yield {"type": "response.output_item.done", "output_index": len(self.finished), "item": item}
        self.finished.append(item)
        self._open = None

    def _step(self, name: str, **about: Any) -> Told:
        assert self._open is not None
        return {"type": name, "item_id": self._open["id"], "output_index": len(self.finished), **about}


def _text(text: str) -> Told:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
