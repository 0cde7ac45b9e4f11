"""A server as people use it: OpenAI's own client on every endpoint, the examples, the command, and how it ends."""

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from fixtures.serve_command import served_by_command
from fixtures.serving import Served, data_url, drawer, opened, png, quiet, same, served, some_picture, talker, until
from fixtures.tiny_model_folder import tiny_illume
from fixtures.tiny_sessions import session_parts
from illume.api import Illume
from illume.generate.coded import Coder
from illume.generate.engine import Engine
from illume.generate.request import LEAST_TEMPERATURE, Result
from illume.generate.runner import Runner
from illume.generate.shown import pixels_of
from illume.models.pixel_decoder import DiffusionPixelDecoder
from illume.serve.asker import Asker
from illume.serve.schema import MOST_PROMPT
from illume.serve.sending import PIECE
from illume.serve.settings import Limits
from illume.serve.worker import Worker
from illume.vocab.format import render
from illume.vocab.layout import read_frame, written_frame
from illume.vocab.messages import ImagePart, Message, TextPart

ROOT = Path(__file__).parents[2]
PROMPT = "a red circle"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(keys=("secret",)) as found:
        yield found
        until(lambda: quiet(found.service))


@pytest.fixture(scope="module")
def client(server: Served) -> openai.OpenAI:
    return server.client("secret")


@pytest.fixture(scope="module")
def talking() -> Iterator[Served]:
    with served(talker()) as found:
        yield found
        until(lambda: quiet(found.service))


def check_usage(usage: Any, results: list[Result]) -> None:
    """What a client is told is what the engine counted: the prompt once, what was written in all."""
    assert usage.input_tokens == results[0].usage.prompt_ids
    assert usage.output_tokens == sum(one.usage.text_ids + one.usage.image_ids for one in results)
    assert usage.input_tokens_details.image_tokens + usage.input_tokens_details.text_tokens == usage.input_tokens
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def computing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The threads that will multiply, by name: those of the engine's steps and of the pixel decoder."""
    threads: set[str] = set()

    def watch(owner: type, name: str) -> None:
        called = getattr(owner, name)

        def watching(*given: Any, **named: Any) -> Any:
            threads.add(threading.current_thread().name)
            return called(*given, **named)

        monkeypatch.setattr(owner, name, watching)

    for owner, name in ((Runner, "_forward"), (Runner, "see"), (DiffusionPixelDecoder, "draw"), (Coder, "__call__")):
        watch(owner, name)
    return threads


@pytest.mark.parametrize("make", [drawer, talker])
def test_on_a_cpu_one_thread_computes(make: Callable[[], Illume], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or torch's threads would be more than the cores, and sleep between products (core/threads.py)."""
    threads = computing(monkeypatch)
    with served(make()) as found:
        client = found.client()
        for _ in client.images.generate(prompt=PROMPT, stream=True, partial_images=2, size="auto"):
            pass
        content = [
            {"type": "text", "text": PROMPT},
            {"type": "image_url", "image_url": {"url": data_url(some_picture())}},
        ]
        said: Any = [{"role": "user", "content": content}]
        client.chat.completions.create(model=found.service.settings.name, messages=said)
        back = {"role": "assistant", "content": [content[1]]}  # a picture that was not drawn here: it has to be encoded
        client.chat.completions.create(model=found.service.settings.name, messages=[*said, back, *said], max_tokens=2)
        until(lambda: quiet(found.service))
    assert threads == {"illume-engine"}


def test_the_check_catches_a_second_thread_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = computing(monkeypatch)
    monkeypatch.setattr(Worker, "_between_steps", lambda self, work: work())
    with served() as found:
        found.client().images.generate(prompt=PROMPT, size="auto")
    assert threads == {"illume-engine", "illume-painter"}


def test_the_check_catches_a_second_thread_that_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "compute", lambda self, work: work())
    with pytest.raises(AssertionError):
        test_on_a_cpu_one_thread_computes(talker, monkeypatch)


def test_drawings_are_those_of_the_model(client: openai.OpenAI, server: Served) -> None:
    answer = client.images.generate(prompt=PROMPT, n=2, size="auto", extra_body={"seed": 3, "guidance_scale": 2.0})
    drawn = server.illume.draw(PROMPT, n=2, seed=3, guidance=2.0)
    assert answer.data is not None
    assert all(same(opened(str(one.b64_json)), picture) for one, picture in zip(answer.data, drawn, strict=True))
    requests = [server.illume.draw_request(PROMPT, 3 + i, guidance=2.0) for i in range(2)]
    check_usage(answer.usage, server.illume.run(requests))


def test_the_check_catches_usage_that_counts_a_prompt_twice(client: openai.OpenAI, server: Served) -> None:
    answer = client.images.generate(prompt=PROMPT, n=2, extra_body={"seed": 3})
    assert answer.usage is not None
    answer.usage.input_tokens *= 2
    with pytest.raises(AssertionError):
        check_usage(answer.usage, server.illume.run([server.illume.draw_request(PROMPT, 3 + i) for i in range(2)]))


@pytest.mark.parametrize(("partials", "rows"), [(0, []), (1, [2]), (3, [1, 2, 3])])
def test_a_drawing_is_streamed_as_it_is_drawn(
    client: openai.OpenAI, server: Served, partials: int, rows: list[int]
) -> None:
    stream = client.images.generate(prompt=PROMPT, stream=True, partial_images=partials, extra_body={"seed": 3})
    *parts, last = list(stream)
    assert [one.type for one in parts] == ["image_generation.partial_image"] * partials
    assert [one.partial_image_index for one in parts] == list(range(partials))  # type: ignore[union-attr]
    assert [one.rows for one in parts] == rows  # type: ignore[union-attr]
    assert last.type == "image_generation.completed"
    assert same(opened(last.b64_json), server.illume.draw(PROMPT, seed=3)[0])
    check_usage(last.usage, server.illume.run([server.illume.draw_request(PROMPT, 3)]))


def test_rows_come_as_far_as_there_is_time(client: openai.OpenAI) -> None:
    settings = {"seed": 3, "partial_images": "rows"}
    *parts, last = list(client.images.generate(prompt=PROMPT, stream=True, extra_body=settings))
    assert last.type == "image_generation.completed"
    assert [one.partial_image_index for one in parts] == list(range(len(parts)))  # type: ignore[union-attr]
    assert len(parts) <= 3


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_pictures_come_in_the_format_that_is_asked_for(client: openai.OpenAI, kind: Any) -> None:
    answer = client.images.generate(prompt=PROMPT, output_format=kind)
    assert answer.data is not None
    assert opened(str(answer.data[0].b64_json)).size == (8, 8)
    data = base64.b64decode(str(answer.data[0].b64_json))
    assert data.startswith({"png": b"\x89PNG", "webp": b"RIFF", "jpeg": b"\xff\xd8"}[kind])


def test_a_negative_prompt_leads_away(client: openai.OpenAI) -> None:
    drawn = [
        client.images.generate(prompt=PROMPT, extra_body={"seed": 3, "guidance_scale": 4.0, **more}).data
        for more in ({}, {"negative_prompt": "two blue squares"})
    ]
    assert drawn[0][0].b64_json != drawn[1][0].b64_json  # type: ignore[index]
    with pytest.raises(openai.BadRequestError, match="guidance"):
        client.images.generate(prompt=PROMPT, extra_body={"negative_prompt": "a", "guidance_scale": 1.0})


@pytest.mark.parametrize("many", [False, True])
def test_a_picture_is_edited(client: openai.OpenAI, server: Served, many: bool) -> None:
    source = some_picture()
    file = ("a.png", png(source), "image/png")
    answer = client.images.edit(image=[file] if many else file, prompt="make it red", extra_body={"seed": 3})
    assert answer.data is not None
    assert same(opened(str(answer.data[0].b64_json)), server.illume.edit(source, "make it red", seed=3)[0])
    request = server.illume.edit_request(source, "make it red", 3)
    check_usage(answer.usage, server.illume.run([request]))


def test_a_mask_keeps_what_it_does_not_mark(client: openai.OpenAI) -> None:
    source, mask = some_picture(), Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 8, 4))
    stream = client.images.edit(
        image=png(source), mask=png(mask), prompt="red", stream=True, partial_images=2, extra_body={"seed": 3}
    )
    events = list(stream)
    assert [one.type for one in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    for one in events:
        assert same(opened(one.b64_json).crop((0, 4, 8, 8)), source.crop((0, 4, 8, 8)))
        assert not same(opened(one.b64_json), source)


def test_a_question_about_a_picture_is_answered(client: openai.OpenAI, server: Served) -> None:
    picture = some_picture()
    shown = {"type": "image_url", "image_url": {"url": data_url(picture)}}
    said: Any = [{"role": "user", "content": [shown, {"type": "text", "text": "how many?"}]}]
    answer = client.chat.completions.create(model=server.service.settings.name, messages=said, max_tokens=6, seed=1)
    assert answer.choices[0].message.content == server.illume.chat("how many?", [picture], seed=1, max_new_text=6)
    (result,) = server.illume.run([server.illume.ask_request(picture, "how many?", max_new_text=6)])
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (result.usage.prompt_ids, 6)
    stream = client.chat.completions.create(
        model="illume", messages=said, max_tokens=6, seed=1, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert words == answer.choices[0].message.content
    assert chunks[-1].usage == answer.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"


def test_what_of_a_prompt_was_held_already_is_told() -> None:
    """Asked again, all but the last id: as many as the engine says that it took over."""
    with served(Illume(session_parts(1))) as found:
        client, worker = found.client(), found.service.worker
        said: Any = [{"role": "user", "content": "tell me all about circles and squares"}]
        told = []
        for _ in range(2):
            answer = client.chat.completions.create(model="illume", messages=said, max_tokens=2)
            assert answer.usage is not None
            assert answer.usage.prompt_tokens_details is not None
            told.append((answer.usage.prompt_tokens_details.cached_tokens, worker.load.reused))
        assert told == [(0, 0), (answer.usage.prompt_tokens - 1, answer.usage.prompt_tokens - 1)]
        asked: Any = {"model": "illume", "input": said[0]["content"], "max_output_tokens": 2}
        last: Any = [client.responses.create(**asked), list(client.responses.create(stream=True, **asked))[-1].response]  # type: ignore[union-attr]
        for one in last:
            assert one.usage.input_tokens_details.cached_tokens == one.usage.input_tokens - 1


def test_words_and_pictures_come_and_go_back(talking: Served) -> None:
    """An answer of both, whole and streamed alike; in the next turn its pictures are known by their codes."""
    client = talking.client()
    said: Any = [{"role": "user", "content": "draw and tell"}]
    settings: Any = {"extra_body": {"modalities": ["image", "text"], "max_tokens": 8}, "seed": 0, "model": "illume"}
    answer = client.chat.completions.create(messages=said, **settings)
    chunks = list(client.chat.completions.create(messages=said, stream=True, **settings))
    message = answer.choices[0].message
    images: Any = message.images  # type: ignore[attr-defined]
    words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    drawn: Any = [one for chunk in chunks for one in getattr(chunk.choices[0].delta, "images", [])]
    assert words == message.content
    assert images
    assert all(
        same(opened(a["image_url"]["url"]), opened(b["image_url"]["url"])) for a, b in zip(images, drawn, strict=True)
    )
    back = {"role": "assistant", "content": message.content, "images": images}
    more = [*said, back, {"role": "user", "content": "and now?"}]
    again = client.chat.completions.create(messages=more, model="illume", max_tokens=2)
    assert again.usage is not None
    assert again.usage.prompt_tokens_details.image_tokens > 0  # type: ignore[union-attr]
    picture = opened(images[0]["image_url"]["url"])
    assert talking.service.asker.memory.find(picture, talking.illume.frame) is not None


def test_a_response_draws_with_the_tool(client: openai.OpenAI, server: Served) -> None:
    tool: Any = {"type": "image_generation", "seed": 3, "action": "generate"}
    asked: Any = {
        "model": "illume",
        "input": "Generate an image of " + PROMPT,
        "tools": [tool],
        "tool_choice": "required",
    }
    answer = client.responses.create(**asked)
    assert answer.status == "completed"
    (call,) = answer.output
    assert call.type == "image_generation_call"
    assert same(opened(str(call.result)), server.illume.draw(PROMPT, seed=3)[0])
    tool["partial_images"] = 2
    events = list(client.responses.create(stream=True, **asked))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    names = [event.type.removeprefix("response.").removeprefix("image_generation_call.") for event in events]
    assert names == ["created", "in_progress", "output_item.added", "in_progress", "generating", "partial_image",
                     "partial_image", "completed", "output_item.done", "completed"]  # fmt: skip
    last: Any = events[-1]
    assert last.response.output[0].result == call.result
    assert last.response.usage == answer.usage


def test_a_response_in_words_is_the_same_streamed(client: openai.OpenAI) -> None:
    asked: Any = {"model": "illume", "input": "hello", "max_output_tokens": 6, "extra_body": {"seed": 1}}
    answer = client.responses.create(instructions="be brief", **asked)
    events = list(client.responses.create(instructions="be brief", stream=True, **asked))
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert answer.output_text == deltas == events[-1].response.output_text  # type: ignore[union-attr]
    assert (answer.status, events[-1].type) == ("incomplete", "response.incomplete")


def test_a_response_of_both_is_the_same_streamed(talking: Served) -> None:
    client = talking.client()
    asked: Any = {
        "model": "illume",
        "input": "draw and tell",
        "max_output_tokens": 8,
        "tools": [{"type": "image_generation"}],
    }
    asked["extra_body"] = {"seed": 0}
    answer = client.responses.create(**asked)
    last: Any = list(client.responses.create(stream=True, **asked))[-1]
    kinds = [(item.type, getattr(item, "result", None)) for item in answer.output]
    assert kinds == [(item.type, getattr(item, "result", None)) for item in last.response.output]
    assert "image_generation_call" in [kind for kind, _ in kinds]


def test_a_response_reads_pictures_and_gets_its_own_back(talking: Served) -> None:
    """An input_image is what the same picture is in a chat; an image_generation_call goes back as it came."""
    client, picture = talking.client(), some_picture()
    shown: Any = {"type": "input_image", "image_url": data_url(picture)}
    asked: Any = [{"role": "user", "content": [shown, {"type": "input_text", "text": "how many?"}]}]
    settings: Any = {"model": "illume", "extra_body": {"seed": 1}}
    answer = client.responses.create(input=asked, max_output_tokens=6, **settings)
    assert answer.output_text == talking.illume.chat("how many?", [picture], seed=1, max_new_text=6)
    tools: Any = [{"type": "image_generation", "action": "edit"}]
    drawn = client.responses.create(input=asked, tools=tools, tool_choice="required", **settings)
    (call,) = drawn.output
    assert call.type == "image_generation_call"
    more = [*asked, call.model_dump(), {"role": "user", "content": "and now?"}]
    again = client.responses.create(input=more, max_output_tokens=6, **settings)
    known = talking.service.asker.memory.find(opened(str(call.result)), talking.illume.frame)
    assert known is not None, "its codes are not known again"
    assert again.usage is not None
    frame = talking.illume.frame
    layout = talking.illume.parts.layout
    read, written = len(read_frame(layout, frame)), len(written_frame(layout, frame, False))
    assert again.usage.input_tokens_details.image_tokens == read + written + read  # type: ignore[attr-defined]


def check_split(server: Served, body: dict[str, Any], messages: Sequence[Message]) -> None:
    """Usage tells a prompt's ids of text and of images apart as the ids themselves do."""
    with server.http() as http:
        details = http.post("/v1/chat/completions", json=body).json()["usage"]["prompt_tokens_details"]
    parts = server.illume.parts
    ids = render(messages, parts.layout, parts.text, parts.reading, prompt=True).ids
    images = sum(id >= parts.layout.vision_start for id in ids)
    assert (details["text_tokens"], details["image_tokens"]) == (len(ids) - images, images)


SPLITS = ("text", "shown", "drawn", "both")


def conversation_of(server: Served, kind: str) -> tuple[dict[str, Any], list[Message]]:
    """A chat as it is sent, and as the model's messages."""
    url, frame = data_url(some_picture()), server.illume.frame
    image: Any = {"type": "image_url", "image_url": {"url": url}}
    codes = Coder(server.illume.parts.tokenizer)(pixels_of(server.illume.pixels(some_picture())))
    first = [image] if kind in ("shown", "both") else []
    said: list[Any] = [{"role": "user", "content": [*first, {"type": "text", "text": "what?"}]}]
    seen = [ImagePart(frame, image="a")] if first else []
    messages = [Message("user", (*seen, TextPart("what?")))]
    if kind in ("drawn", "both"):
        said += [{"role": "assistant", "content": [image]}, {"role": "user", "content": "and?"}]
        messages.append(Message("assistant", (ImagePart(frame, codes, image="b"),)))
        messages.append(Message("user", (TextPart("and?"),)))
    return {"messages": said, "max_tokens": 1}, messages


@pytest.mark.parametrize("kind", SPLITS)
def test_a_prompts_ids_are_told_apart(talking: Served, kind: str) -> None:
    check_split(talking, *conversation_of(talking, kind))


@pytest.mark.parametrize("kind", SPLITS[1:])
def test_the_check_catches_images_that_are_counted_wrong(
    talking: Served, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Asker._image_ids
    monkeypatch.setattr(Asker, "_image_ids", lambda self, messages: count(self, messages) - 1)
    with pytest.raises(AssertionError):
        check_split(talking, *conversation_of(talking, kind))


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["illume"]
    assert client.models.retrieve("illume").id == "illume"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_errors_are_those_of_openais_client(client: openai.OpenAI, server: Served) -> None:
    with pytest.raises(openai.AuthenticationError):
        server.client("wrong").models.list()
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt=PROMPT, size="1024x1024")
    assert (caught.value.param, "8x8" in caught.value.message) == ("size", True)
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="a" * 1000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.UnprocessableEntityError):
        client.images.edit(image=b"no picture", prompt="a")


def test_many_at_once_get_each_their_own(server: Served) -> None:
    def draw(seed: int) -> Image.Image:
        answer = server.client("secret").images.generate(prompt=PROMPT, extra_body={"seed": seed})
        assert answer.data is not None
        return opened(str(answer.data[0].b64_json))

    with ThreadPoolExecutor(6) as pool:
        drawn = list(pool.map(draw, range(6)))
    assert all(same(a, b) for a, b in zip(drawn, server.illume.draw(PROMPT, n=6, seed=0), strict=True))


@pytest.mark.parametrize("seconds", [30.0, 0.1])
def test_a_server_that_is_told_to_stop_finishes_first(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    go, step = threading.Event(), Engine.step
    monkeypatch.setattr(Engine, "step", lambda engine: go.wait(30) and step(engine))
    with served(drain_seconds=seconds) as found, ThreadPoolExecutor(1) as pool, found.http() as http:
        drawing = pool.submit(lambda: found.http().post("/v1/images/generations", json={"prompt": PROMPT}))
        until(lambda: found.service.worker.open)
        found.server.drain()
        answer = http.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "draining"})
        answer = http.post("/v1/images/generations", json={"prompt": PROMPT})
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        if seconds > 1:
            go.set()
        assert drawing.result().status_code == (200 if seconds > 1 else 503)
        go.set()
        until(lambda: found.server.should_exit)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`illume serve` in a process of its own."""
    folder = tmp_path_factory.mktemp("serving") / "tiny"
    tiny_illume().save(folder)
    with served_by_command(str(folder), ILLUME_API_KEYS="secret") as (url, process):
        yield url, process


@pytest.mark.parametrize("example", ["draw.sh", "draw.py"])
def test_the_examples_run(command: tuple[str, Any], example: str, tmp_path: Path) -> None:
    file = ROOT / "examples" / "serve" / example
    call = [sys.executable, str(file)] if file.suffix == ".py" else ["bash", str(file)]
    environment = {**os.environ, "ILLUME_URL": f"{command[0]}/v1", "ILLUME_API_KEY": "secret", "NO_PROXY": "127.0.0.1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        call, cwd=tmp_path, env={**environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("drawn.png", "edited.png"):
        assert Image.open(tmp_path / name).size == (8, 8)


def test_the_command_serves_and_ends_when_told(command: tuple[str, subprocess.Popen[str]]) -> None:
    url, process = command
    assert [model.id for model in openai.OpenAI(base_url=f"{url}/v1", api_key="secret").models.list()] == ["tiny"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), 5)


def test_the_page_tells_of_every_flag() -> None:
    """docs/serving.md names the flags that there are."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    code = (ROOT / "src" / "illume" / "cli" / "serving.py").read_text(encoding="utf-8")
    flags = {name.replace("_", "-") for name in re.findall(r"^    (\w+): (?:Annotated|\w+Option)", code, flags=re.M)}
    told = set(re.findall(r"--([a-z][a-z-]+)", text))
    assert flags == told


def test_the_page_tells_of_the_fixed_limits() -> None:
    text = " ".join((ROOT / "docs" / "serving.md").read_text(encoding="utf-8").split())
    limits = Limits()
    for told in (
        f"{limits.images} images and {limits.text:,} characters a request, a prompt of {MOST_PROMPT:,};",
        f"{limits.upload_seconds:g} seconds for a body to arrive, {limits.send_seconds:g} for a client",
        f"each {PIECE // 1024} KB of what",
        f"{limits.uploads} bodies on their way",
        f"`temperature` (0, or {LEAST_TEMPERATURE:.4f} to 10)",
    ):
        assert told in text
