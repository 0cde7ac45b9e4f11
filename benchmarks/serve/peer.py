"""The peer's servers: FastAPI around JanusForConditionalGeneration.generate, as one would write them in an afternoon.

    python -m benchmarks.serve.peer --window -1 --port 8000       one request at a time
    python -m benchmarks.serve.peer --window 0.05 --port 8000     what arrives within 50 ms in one batch

While a batch is drawn the next ones gather, without limit but `MOST`. Pictures are answered whole: `generate` shows
nothing before. It uses as many threads as `generate` was fastest with when the server started.
"""

import argparse
import asyncio
import base64
import io
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import torch
from PIL import Image

from benchmarks.shapes import SHAPES, peer, peer_codes

MOST = 64  # pictures of a batch
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Draw = Callable[[list[str]], list[str]]


class Batcher:
    """Draws for whoever asks: alone where `window` is negative, else with all who come within so many seconds."""

    def __init__(self, draw: Draw, window: float) -> None:
        self._draw = draw
        self._window = window
        self._asked: asyncio.Queue[tuple[str, asyncio.Future[str]]] = asyncio.Queue()

    async def picture(self, prompt: str) -> str:
        """One picture, as base64."""
        answer = asyncio.get_running_loop().create_future()
        await self._asked.put((prompt, answer))
        return str(await answer)

    async def work(self) -> None:
        """Draw for ever."""
        while True:
            batch = [await self._asked.get()]
            if self._window >= 0:
                await asyncio.sleep(self._window)
                while len(batch) < MOST and not self._asked.empty():
                    batch.append(self._asked.get_nowait())
            try:
                drawn = await asyncio.to_thread(self._draw, [prompt for prompt, _ in batch])
            except Exception as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), picture in zip(batch, drawn, strict=True):
                if not answer.done():
                    answer.set_result(picture)


def app_of(draw: Draw, window: float) -> Any:
    """The application: POST /v1/images/generations and GET /health."""
    from fastapi import FastAPI

    batcher = Batcher(draw, window)

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        working = asyncio.ensure_future(batcher.work())
        yield
        working.cancel()

    app = FastAPI(lifespan=life)

    @app.post("/v1/images/generations")
    async def generate(body: dict[str, Any]) -> dict[str, Any]:
        return {"created": int(time.time()), "data": [{"b64_json": await batcher.picture(body["prompt"])}]}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def drawer(model: Any) -> Draw:
    """Draws a batch by the peer, another seed each time."""
    seeds = itertools.count()

    @torch.inference_mode()
    def draw(prompts: list[str]) -> list[str]:
        codes = peer_codes(model, prompts, next(seeds))
        pixels = model.decode_image_tokens(codes).float()
        levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        return [_encoded(Image.fromarray(picture)) for picture in levels]

    return draw


def fastest_threads(draw: Draw, batch: int, numbers: Sequence[int]) -> int:
    """The number of torch's threads with which a batch is drawn soonest."""
    took = {}
    for number in numbers:
        torch.set_num_threads(number)
        draw(["a red circle"] * batch)
        began = time.perf_counter()
        draw(["a red circle"] * batch)
        took[number] = time.perf_counter() - began
    return min(took, key=lambda number: took[number])


def _encoded(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=float, default=-1)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--dtype", choices=_DTYPES, default="fp32")
    parser.add_argument("--threads", type=int, help="default: the fastest of 1 and all cores")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    draw = drawer(peer(SHAPES[arguments.shape], _DTYPES[arguments.dtype]))
    numbers = sorted({1, torch.get_num_threads()})
    threads = arguments.threads or fastest_threads(draw, 1 if arguments.window < 0 else 8, numbers)

    def drawn(prompts: list[str]) -> list[str]:
        torch.set_num_threads(threads)  # of the thread that draws
        return draw(prompts)

    print(f"threads: {threads}", flush=True)
    uvicorn.run(app_of(drawn, arguments.window), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
