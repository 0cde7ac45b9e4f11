"""Which endpoint is asked, how, and how much it may cost; it asks nobody.

Only what a verdict depends on is part of the judge's identity: a key, a time limit or a budget is not.
"""

import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from illume.core.config import plain_hash
from illume.core.errors import ConfigError
from illume.judge.protocol import Identity
from illume.tasks import prompts

OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in any currency."""

    input: float
    output: float

    def __post_init__(self) -> None:
        if not (self.input >= 0 and self.output >= 0):
            raise ValueError(f"prices are 0 or more, not {self.input} and {self.output}")


@dataclass(frozen=True)
class Limits:
    """What may be spent in all, over every run that shares a file of answers; None: as much as it takes.

    `requests` counts each attempt, `tokens` those read and written, `money` is in the currency of the prices.
    """

    requests: int | None = None
    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "money"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"a limit of {name} is 0 or more, not {value}")


@dataclass(frozen=True)
class ApiConfig:
    """A vision model behind an OpenAI-compatible chat endpoint: `url` + "/chat/completions". Times in seconds.

    `key_env` names the environment variable that holds the key ("": the server wants none). `attempts` is how often one
    question is asked before it is given up, `stop_after` how many in a row may be given up, `patience` how long a judge
    that is stopped waits for the answers under way.
    """

    model: str
    url: str = OPENAI
    key_env: str = "OPENAI_API_KEY"
    detail: Literal["auto", "low", "high"] = "auto"
    temperature: float | None = 0.0
    max_answer_tokens: int = 600
    concurrency: int = 8
    attempts: int = 8
    timeout: float = 120.0
    first_wait: float = 1.0
    longest_wait: float = 300.0
    stop_after: int = 8
    patience: float = 5.0
    limits: Limits = Limits()
    prices: Prices | None = None

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not self.model.strip():
            raise ValueError("name the model to ask: gpt-4o, or what the server calls its own")
        for name in ("max_answer_tokens", "concurrency", "attempts", "stop_after"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is 1 or more, not {getattr(self, name)}")
        for name in ("timeout", "first_wait", "longest_wait"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is a number of seconds above 0, not {getattr(self, name)}")
        if self.limits.money is not None and self.prices is None:
            raise ValueError("a limit of money needs prices: what a million tokens cost, read and written")

    @property
    def identity(self) -> Identity:
        """The judge that this makes."""
        words = plain_hash({"system": prompts.ASSESSOR, "user": prompts.ASSESS})
        settings = {
            "model": self.model,
            "url": self.url.rstrip("/"),
            "detail": self.detail,
            "temperature": self.temperature,
            "max_answer_tokens": self.max_answer_tokens,
            "words": words,
        }
        return Identity("api", settings)

    def key(self) -> str | None:
        """The key from the environment. ConfigError where it is not there, or nothing that a header can carry."""
        if not self.key_env:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            wanted = f"put the key for {self.url} into the environment variable {self.key_env}"
            raise ConfigError(f'{wanted}, name another one (key_env), or "" for a server that wants none')
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigError(f"the environment variable {self.key_env} holds no key: keys are printable ASCII")
        return key


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url {url!r}: expected the base of an endpoint, such as {OPENAI} or http://localhost:8000/v1")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"url {url!r}: {error}") from error
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a url carries no key, question mark or fragment: the key goes into the environment (key_env)")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError(f"url {url!r}: leave /chat/completions away, it is added")
