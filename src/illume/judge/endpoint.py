"""One question to an OpenAI-compatible chat endpoint over HTTP, and what its answer means for going on; it never waits.

Servers differ in what they understand: a verdict's shape is asked for by a JSON Schema, then as a JSON object, then in
words alone, and the limit of an answer by its old name, then by its new one. What was refused is not tried again.
"""

import asyncio
import base64
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from illume.core.errors import ConfigError, JudgeError
from illume.judge.answers import Answer
from illume.judge.api_config import ApiConfig
from illume.judge.budget import Usage
from illume.judge.protocol import Drawing
from illume.tasks import prompts
from illume.tasks.verdict import SCHEMA
from illume.vocab.messages import ImageFrame, ImagePart, Message, TextPart

FORMS = ("schema", "object", "words")
_LIMITS = ("max_tokens", "max_completion_tokens")
_CONNECT = 10.0  # seconds: who does not even take the call is not there
_SHOWN = 300
_DRAWN = ImageFrame(((1, 1),))  # the endpoint has its own way with pictures


class NoAnswerError(Exception):
    """A request brought nothing, but another may; `wait` is how many seconds the server wants to be left alone.

    `billed`: the server took the question and did not say that it failed, so it may have answered, and have it paid.
    """

    def __init__(self, reason: str, wait: float | None = None, *, connected: bool = True, billed: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.connected = connected
        self.billed = billed


class NotTakenError(Exception):
    """The endpoint will not take this question, however often; `refused`: it is its content that it objects to."""

    def __init__(self, reason: str, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class FormRefusedError(Exception):
    """The endpoint does not understand the way it was asked; another way is left, and tried from now on."""


@dataclass(frozen=True)
class Reply:
    """An answer and the tokens it took; None where the server does not say."""

    answer: Answer
    took: Usage | None


class Endpoint:
    """A connection to an endpoint; use it as an async context. `proven`: it has answered this judge before."""

    def __init__(self, config: ApiConfig, key: str | None, proven: bool) -> None:
        self.config = config
        self.proven = proven
        self._key = key
        self._form, self._limit = 0, 0
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        connections = httpx2.Limits(max_connections=config.concurrency)
        times = httpx2.Timeout(config.timeout, connect=min(_CONNECT, config.timeout))
        self._url = _address(config.url)
        self._client = httpx2.AsyncClient(headers=headers, timeout=times, limits=connections)

    async def __aenter__(self) -> "Endpoint":
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._client.__aexit__(*error)

    async def ask(self, drawing: Drawing) -> Reply:
        """One request. NoAnswerError, NotTakenError, FormRefusedError; JudgeError where it is no use to go on."""
        form, limit = self._form, self._limit
        try:
            async with asyncio.timeout(self.config.timeout):  # of the whole answer, however slowly it drips in
                response = await self._client.post(self._url, json=self._body(drawing))
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NoAnswerError(f"cannot be reached: {_named(error)}", connected=False) from error
        except (httpx2.HTTPError, TimeoutError) as error:
            raise NoAnswerError(_named(error), billed=True) from error
        if response.status_code != 200:
            raise self._trouble(response, form, limit)
        reply = _reply(response, FORMS[form])
        if reply is None:
            raise NoAnswerError(f"no chat completion: {self._clean(response.text)[:_SHOWN]!r}", billed=True)
        self.proven = True
        return reply

    def _body(self, drawing: Drawing) -> dict[str, Any]:
        config = self.config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": chat_messages(drawing, config.detail),
            _LIMITS[self._limit]: config.max_answer_tokens,
        }
        if config.temperature is not None:
            body["temperature"] = config.temperature
        if FORMS[self._form] == "schema":
            shape = {"name": "verdict", "strict": True, "schema": verdict_schema()}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        elif FORMS[self._form] == "object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _trouble(self, response: httpx2.Response, form: int, limit: int) -> Exception:
        """What a status other than 200 means."""
        status, said = response.status_code, self._said(response)
        code, message = _error_of(response)
        blamed = not self.proven and status in (400, 422, 501) and not _objects(code)
        if status in (400, 404, 415, 422, 501) and self._other_form(message.lower(), form, limit, blamed):
            return FormRefusedError(said)
        if status == 429 and "insufficient_quota" in code:
            return JudgeError(f"{self.config.url}: nothing is left to spend: {said}")
        if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
            return NoAnswerError(said, _wait_of(response))
        if status in (400, 413, 415, 422) and (self.proven or _objects(code)):
            return NotTakenError(said, refused=_objects(code))
        advice = {
            401: f"the key is not accepted; is {self.config.key_env or 'a key'} the right one?",
            403: "the key may not do this",
            402: "nothing is left to spend",
            404: f"there is no such endpoint, or no model {self.config.model!r}",
        }.get(status, "the question is not understood" if status < 500 else "the server cannot do this")
        if 300 <= status < 400:
            advice = "the server sends us elsewhere; give the address it means as the url"
        return JudgeError(f"{self.config.url}: {advice}: {said}")

    def _other_form(self, said: str, form: int, limit: int, blamed: bool) -> bool:
        """Whether another way to ask is left after this one was refused; other questions may have found it already.

        `blamed`: the way is to blame even where the server does not say so.
        """
        if _LIMITS[limit] == "max_tokens" and "max_tokens" in said:
            self._limit = 1
            return True
        meant = any(word in said for word in ("response_format", "json_schema", "json_object", "schema", "structured"))
        if form + 1 < len(FORMS) and (meant or blamed):
            self._form = max(self._form, form + 1)
            return True
        return False

    def _said(self, response: httpx2.Response) -> str:
        """The status and what the server said; not the key, should it have said that."""
        return f"HTTP {response.status_code}: {self._clean(_error_of(response)[1])[:_SHOWN]}"

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def chat_messages(drawing: Drawing, detail: str) -> list[dict[str, Any]]:
    """The question as chat messages: what a verdict is, then what `tasks.prompts.assess` says."""
    asked = prompts.assess(ImagePart(_DRAWN, image="image"), drawing.prompt)
    return [{"role": "system", "content": prompts.ASSESSOR}, *(_chat_message(one, drawing, detail) for one in asked)]


def verdict_schema() -> dict[str, Any]:
    """The schema of a verdict as endpoints take it: without the keywords that only name it."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return {name: value for name, value in schema.items() if name not in ("$schema", "title", "description")}


def _chat_message(message: Message, drawing: Drawing, detail: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        else:
            content.append({"type": "image_url", "image_url": {"url": _data_url(drawing), "detail": detail}})
    return {"role": message.role, "content": content}


def _address(url: str) -> httpx2.URL:
    try:
        return httpx2.URL(f"{url.rstrip('/')}/chat/completions")
    except httpx2.InvalidURL as error:
        raise ConfigError(f"url {url!r}: {error}") from error


def _data_url(drawing: Drawing) -> str:
    data = io.BytesIO()
    drawing.picture().save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _reply(response: httpx2.Response, form: str) -> Reply | None:
    """What a chat completion says; None where it is none: cut off on the way, or an error in disguise."""
    try:
        body = response.json()
        choice = body["choices"][0]
        message = choice["message"]
        texts = (message.get("content"), message.get("refusal"), choice.get("finish_reason"))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if any(text is not None and not isinstance(text, str) for text in texts):
        return None
    return Reply(Answer(*texts, form), _took(body.get("usage")))


def _took(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not (isinstance(read, int) and isinstance(written, int) and min(read, written) >= 0):
        return None
    return Usage(1, read, written)


def _error_of(response: httpx2.Response) -> tuple[str, str]:
    """The code and the message of an error, in whatever way the server spells them."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return "", response.text
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "", str(error)
    code = " ".join(str(error[name]) for name in ("code", "type") if error.get(name))
    named = f"{error['param']}: " if error.get("param") else ""
    return code, named + str(error.get("message") or error.get("detail") or error)


def _objects(code: str) -> bool:
    return any(word in code for word in ("content_policy", "content_filter", "moderation"))


def _wait_of(response: httpx2.Response) -> float | None:
    """What Retry-After says, in seconds or as a date (RFC 9110, 10.2.3)."""
    said = response.headers.get("retry-after", "").strip()
    if said.replace(".", "", 1).isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()) if said else None
    except (ValueError, TypeError):
        return None


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
