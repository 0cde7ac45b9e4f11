"""`illume serve`: a model over HTTP, with OpenAI's API and a page; it does no work of its own."""

import os
from pathlib import Path
from typing import Annotated

import typer

from illume.cli.options import DeviceOption, ModelArgument, ParallelOption, TierOption
from illume.core.errors import UsageError
from illume.core.threads import in_passing


def serve(
    model: ModelArgument,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 is everywhere.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="A key that may ask (repeatable); also ILLUME_API_KEYS=a,b. Without any, anyone may."),
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="A file of keys, one a line.")] = None,
    name: Annotated[str | None, typer.Option(help="What the model is called. Default: its folder's name.")] = None,
    rows: Annotated[
        int | None, typer.Option(min=2, help="Rows that answer together; a guided drawing takes two. Default: its own.")
    ] = None,
    cache_gb: Annotated[
        float | None, typer.Option("--cache-gb", min=0, help="Instead of --rows: as many as fit into so many GB.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=16, help="Longest conversation with its answer, in ids. Default: the model's own.")
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="Most answers waiting or under way; beyond, 429.")] = 256,
    max_body: Annotated[float, typer.Option(min=0.001, help="Most megabytes of a request.")] = 32.0,
    max_pixels: Annotated[float, typer.Option(min=0.001, help="Most megapixels of an image sent.")] = 16.0,
    max_n: Annotated[int, typer.Option("--max-n", min=1, max=10, help="Most answers a request may ask for.")] = 10,
    cors: Annotated[
        list[str] | None, typer.Option(help="An origin whose pages may ask (repeatable); * is any. Default: none.")
    ] = None,
    remote_images: Annotated[
        bool, typer.Option("--remote-images", help="Fetch images from public addresses that requests name.")
    ] = False,
    drain: Annotated[float, typer.Option(min=0, help="Seconds to finish in, when told to stop.")] = 30.0,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Log what was asked. Default: never.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Answers are bit for bit the same in any company; slower.")
    ] = False,
    tier: TierOption = "auto",
    parallel: ParallelOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Serve a model: OpenAI's API at /v1, a page to play in at / (docs/serving.md)."""
    from illume.serve.keys import gather

    if rows is not None and cache_gb is not None:
        raise UsageError("--rows and --cache-gb both say how many rows there are: give one of them")
    keys = gather(api_key or [], api_key_file, os.environ)
    from illume.api import load

    try:
        from illume.serve.server import serve as run
        from illume.serve.settings import GIGABYTE, MEGABYTE, Limits, Settings
    except ModuleNotFoundError as error:
        raise UsageError(f"serving needs {error.name}: pip install 'illume[serve]'") from error
    limits = Limits(body=int(max_body * MEGABYTE), pixels=int(max_pixels * 1e6), n=max_n, open=queue)
    settings = Settings(
        name=name or Path(model).resolve().name,
        host=host,
        port=port,
        keys=keys,
        rows=rows,
        cache_bytes=None if cache_gb is None else int(cache_gb * GIGABYTE),
        max_length=max_length,
        cors=tuple(cors or ()),
        remote_images=remote_images,
        drain_seconds=drain,
        log_prompts=log_prompts,
        limits=limits,
    )
    run(in_passing(load, model, device, strict=strict, tier=tier, parallel=parallel), settings)
