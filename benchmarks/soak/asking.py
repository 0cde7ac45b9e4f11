"""Requests of a soak and what may become of them: an answer that is whole, or a refusal in OpenAI's shape.

It does not know when they are asked, nor by how many.
"""

import base64
import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from PIL import Image

SECRET = "zanzibar"  # a word of every prompt, which no log may hold
OVERLOAD = (429, 503)
_COLOURS = ("red", "green", "blue", "yellow")
_SHAPES = ("circle", "square", "triangle", "cross")
_GENERATIONS, _EDITS, _CHAT = "/v1/images/generations", "/v1/images/edits", "/v1/chat/completions"


@dataclass(frozen=True)
class Ask:
    """A request. `expected`: its statuses; `streams`: events are to come; `whole`: what a whole answer's text has."""

    kind: str
    path: str
    options: Mapping[str, Any]
    method: str = "POST"
    expected: tuple[int, ...] = (200,)
    streams: bool = False
    whole: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Maker: TypeAlias = Callable[[random.Random], Ask]


def problem_of(ask: Ask, status: int, text: str) -> str | None:
    """What is wrong with an answer; None: it is an answer, or a refusal as it should be."""
    if status != 200:
        if status not in (*ask.expected, *OVERLOAD):
            return f"status {status}, not {ask.expected}: {text[:200]}"
        return None if ask.method == "HEAD" or is_error(text) else f"{status} without OpenAI's error: {text[:200]}"
    if 200 not in ask.expected:
        return f"answered, where {ask.expected} was due"
    if ask.whole in text:
        return None
    if ask.streams and any(is_error(line[6:]) for line in text.splitlines() if line.startswith("data: {")):
        return f"a stream that broke off: {text[-200:]}"
    return f"not whole, no {ask.whole!r}: {text[-200:]}"


def is_error(text: str) -> bool:
    """Whether a text is an error as OpenAI spells it."""
    try:
        error = json.loads(text)["error"]
        return bool(error["message"]) and isinstance(error["type"], str) and {"param", "code"} <= set(error)
    except (ValueError, KeyError, TypeError):
        return False


def prompt(chance: random.Random) -> str:
    """Something to draw, with the word that no log may hold."""
    return f"a {chance.choice(_COLOURS)} {chance.choice(_SHAPES)} of {SECRET}"


def png(chance: random.Random, size: tuple[int, int] | None = None, mode: str = "RGB") -> bytes:
    """A picture of noise."""
    size = size or (chance.randint(8, 96), chance.randint(8, 96))
    data = io.BytesIO()
    Image.frombytes(mode, size, chance.randbytes(size[0] * size[1] * len(mode))).save(data, "PNG")
    return data.getvalue()


def mask(size: tuple[int, int]) -> bytes:
    """White in the middle."""
    picture = Image.new("L", size)
    picture.paste(255, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def data_url(data: bytes) -> str:
    """A picture as an address."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def drawing(chance: random.Random) -> Ask:
    """Pictures of a prompt."""
    body: dict[str, Any] = {"prompt": prompt(chance), "n": chance.choice((1, 1, 2, 3)), "seed": chance.randrange(2**31)}
    body |= chance.choice(({}, {"guidance_scale": 1.0}, {"temperature": 0.7, "top_k": 20}, {"output_format": "webp"}))
    return Ask("draw", _GENERATIONS, {"json": body}, whole='"total_tokens"')


def drawing_streamed(chance: random.Random) -> Ask:
    """Pictures as they are drawn."""
    body = {"prompt": prompt(chance), "n": chance.choice((1, 2)), "stream": True}
    body["partial_images"] = chance.choice((0, 1, 3, "rows"))
    return Ask("draw, streamed", _GENERATIONS, {"json": body}, streams=True, whole="image_generation.completed")


def editing(chance: random.Random) -> Ask:
    """A picture changed, half of the time where a mask says, half of the time streamed."""
    size, streams = (chance.randint(16, 64), chance.randint(16, 64)), chance.random() < 0.5
    files = {chance.choice(("image", "image[]")): ("a.png", png(chance, size), "image/png")}
    if chance.random() < 0.5:
        files["mask"] = ("mask.png", mask(size), "image/png")
    form = {"prompt": prompt(chance)} | ({"stream": "true", "partial_images": "2"} if streams else {})
    kind = "edit" + (", masked" if "mask" in files else "") + (", streamed" if streams else "")
    whole = "image_edit.completed" if streams else '"total_tokens"'
    return Ask(kind, _EDITS, {"data": form, "files": files}, streams=streams, whole=whole)


def chatting(chance: random.Random) -> Ask:
    """A question, about a picture or none, answered in words, pictures or both."""
    content: list[dict[str, Any]] = [{"type": "text", "text": prompt(chance)}]
    if chance.random() < 0.6:
        content.insert(0, {"type": "image_url", "image_url": {"url": data_url(png(chance))}})
    streams = chance.random() < 0.5
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}], "stream": streams, "max_tokens": 12}
    modalities = chance.choice((["text"], ["text"], ["image"], ["image", "text"]))
    if modalities == ["image"]:
        del body["max_tokens"]
    body["modalities"] = modalities
    kind = f"chat to {' and '.join(modalities)}" + (", streamed" if streams else "")
    return Ask(kind, _CHAT, {"json": body}, streams=streams, whole="[DONE]" if streams else '"total_tokens"')


def responding(chance: random.Random) -> Ask:
    """A response with the tool that draws."""
    streams = chance.random() < 0.5
    body = {"input": prompt(chance), "tools": [{"type": "image_generation"}], "stream": streams}
    body["tool_choice"] = {"type": "image_generation"}
    return Ask("respond", "/v1/responses", {"json": body}, streams=streams, whole='"total_tokens"')


def looking(chance: random.Random) -> Ask:
    """What costs nothing."""
    path, whole = chance.choice((("/v1/models", '"list"'), ("/health", "ok"), ("/metrics", "illume_rows"), ("/", "<")))
    return Ask("look", path, {}, "GET", whole=whole)


GOOD: tuple[tuple[Maker, int], ...] = (
    (drawing, 4), (drawing_streamed, 5), (editing, 5), (chatting, 6), (responding, 1), (looking, 2),
)  # fmt: skip


def _json(why: str, body: Any, *expected: int, path: str = _GENERATIONS) -> Maker:
    return lambda chance: Ask(f"bad: {why}", path, {"json": body}, expected=expected)


def _raw(why: str, data: bytes, *expected: int, kind: str = "application/json", path: str = _GENERATIONS) -> Maker:
    headers = {"content-type": kind}
    return lambda chance: Ask(f"bad: {why}", path, {"content": data}, expected=expected, headers=headers)


def _shown(why: str, url: str, *expected: int) -> Maker:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what?"}]
    return _json(why, {"messages": [{"role": "user", "content": content}]}, *expected, path=_CHAT)


def _file(why: str, data: bytes, *expected: int) -> Maker:
    options = {"data": {"prompt": "change it"}, "files": {"image": ("a.png", data, "image/png")}}
    return lambda chance: Ask(f"bad: {why}", _EDITS, options, expected=expected)


def _bomb() -> bytes:
    data = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(data, "PNG")
    return data.getvalue()


def bad_requests(max_body: int) -> tuple[Maker, ...]:
    """One of each kind. max_body: bytes that the server takes of a request."""
    hello = [{"role": "user", "content": "hello"}]
    half = png(random.Random(0), (64, 64))[:200]
    return (
        _raw("no JSON", b"{", 400),
        _raw("no UTF-8", b'{"prompt": "\xff"}', 400),
        _raw("nothing", b"", 400),
        _raw("another type", b"prompt=x", 400, 415, 422, kind="application/x-www-form-urlencoded"),
        _raw("deep", b"[" * 100_000, 400),
        _raw("too large", b'{"prompt": "' + b"x" * max_body + b'"}', 413),
        _raw("a form without an end", b"--x\r\nContent-Dis", 400, kind="multipart/form-data; boundary=x", path=_EDITS),
        _raw("a form without a border", b"--x", 400, kind="multipart/form-data", path=_EDITS),
        _json("no prompt", {}, 400),
        _json("empty prompt", {"prompt": ""}, 400),
        _json("a list", [], 400),
        _json("unknown field", {"prompt": "x", "colour": "red"}, 400),
        _json("unknown model", {"prompt": "x", "model": "dall-e-2"}, 404),
        _json("no such size", {"prompt": "x", "size": "9999x1"}, 400),
        _json("n of 0", {"prompt": "x", "n": 0}, 400),
        _json("n of 1000", {"prompt": "x", "n": 1000}, 400),
        _json("a text for a number", {"prompt": "x", "n": "2"}, 400),
        _json("a negative seed", {"prompt": "x", "seed": -1}, 400),
        _json("partials unstreamed", {"prompt": "x", "partial_images": 2}, 400),
        _json("too long to answer", {"prompt": "x" * 20_000}, 400),
        _json("surrogates", {"prompt": "x", "user": 5}, 400),
        _json("no messages", {"messages": []}, 400, path=_CHAT),
        _json("tools", {"messages": hello, "tools": [{"type": "function"}]}, 400, path=_CHAT),
        _json("a strange role", {"messages": [{"role": "king", "content": "x"}]}, 400, path=_CHAT),
        _json("the answer's turn", {"messages": [{"role": "assistant", "content": "x"}]}, 400, path=_CHAT),
        _json("no input", {"model": None}, 400, path="/v1/responses"),
        _shown("another server's image", "http://169.254.169.254/latest", 400),
        _shown("a file's address", "file:///etc/passwd", 400),
        _shown("no base64", "data:image/png;base64,***", 400),
        _shown("no image", "data:image/png;base64,aGVsbG8=", 400, 422),
        _file("half an image", half, 422),
        _file("no image at all", b"hello", 422),
        _file("an empty file", b"", 400, 422),
        _file("a bomb", _bomb(), 413, 422),
        lambda chance: Ask("bad: no such path", "/v1/engines", {}, "GET", expected=(404,)),
        lambda chance: Ask("bad: another method", _GENERATIONS, {}, "GET", expected=(405,)),
        lambda chance: Ask("bad: up the tree", "/static/..%2f..%2fapp.py", {}, "GET", expected=(404,)),
        lambda chance: Ask("bad: no key", "/v1/models", {}, "GET", (401,), headers={"authorization": "Bearer wrong"}),
    )
