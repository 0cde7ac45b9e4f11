"""What a server is told when it starts: where it listens, who may use it, and how much of everything.

It does not know how any of this is kept to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MEGABYTE, GIGABYTE = 2**20, 2**30


@dataclass(frozen=True)
class Limits:
    """How much one request may bring or ask for, and how many may be under way.

    body: bytes of a request. pixels: of one image that it brings; images: how many it brings. text: characters of all
    its words. n: answers that it asks for. open: answers waiting or under way, of all requests. uploads: requests whose
    body is coming; beyond, one that is silent is given up for a new one. upload_seconds: for a whole body to arrive.
    send_seconds: for a client to take in each piece of what it is sent. Beyond these a request is refused, or its
    connection closed.
    """

    body: int = 32 * MEGABYTE
    pixels: int = 16_000_000
    images: int = 16
    text: int = 100_000
    n: int = 10
    open: int = 256
    uploads: int = 256
    upload_seconds: float = 60.0
    send_seconds: float = 60.0


@dataclass(frozen=True)
class Settings:
    """A server. `keys`: those that may use it, none: everyone. `name`: what the model is called.

    rows and max_length: of the engine, None is the model's own; cache_bytes: as many rows as fit into so many;
    `engine` further settings of it. cors: the origins of
    other pages that may ask. remote_images: whether images are fetched from other servers. drain_seconds: how long
    requests under way may take when the server is told to stop. log_prompts: whether logs say what was asked.
    beat_seconds: how often a stream with nothing to tell says that it is alive.
    """

    name: str = "illume"
    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()
    rows: int | None = None
    max_length: int | None = None
    cache_bytes: int | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    cors: tuple[str, ...] = ()
    remote_images: bool = False
    drain_seconds: float = 30.0
    log_prompts: bool = False
    beat_seconds: float = 15.0
    limits: Limits = Limits()
