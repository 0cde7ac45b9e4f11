"""The routes. What they do is elsewhere: this says which path leads to what, and how errors are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from illume import __version__
from illume.api import Illume
from illume.serve import chat, images, responses
from illume.serve.errors import json_response, of_fields, of_status
from illume.serve.forms import FORM, form_schema, read_edit
from illume.serve.metrics import CONTENT_TYPE
from illume.serve.middleware import Gate, Watch
from illume.serve.replies import ERRORS, STREAMED, Chat, Created, Health, Images, Model, Models
from illume.serve.schema import ImageGeneration
from illume.serve.schema_chat import ChatCompletion
from illume.serve.schema_responses import ResponseCreation
from illume.serve.service import Service
from illume.serve.settings import Settings

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
router = APIRouter()


def create_app(illume: Illume, settings: Settings) -> FastAPI:
    """An ASGI application that serves a model; `app.state.service` is what its endpoints share."""
    service = Service(illume, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(title="ILLUME", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = service
    app.include_router(router)
    app.mount("/static", Page(directory=_static(), check_dir=False))
    app.add_exception_handler(HTTPException, _on_error)
    app.add_exception_handler(RequestValidationError, _on_fields)
    app.add_middleware(Gate, service=service)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(Watch, service=service)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@router.post("/v1/images/generations", response_model=Images, responses=STREAMED)
async def generate(body: ImageGeneration, request: Request) -> Response:
    """Draw pictures of a prompt."""
    service = _service(request)
    service.check_drawing(body)
    service.note_words(request, body.prompt)
    orders = await service.prepare(service.asker.draw, body)
    return await images.answer(service, request, body, orders, "image_generation")


@router.post("/v1/images/edits", response_model=Images, responses=STREAMED, openapi_extra={"requestBody": FORM})
async def edit(request: Request) -> Response:
    """Change a picture, all of it or where a mask says."""
    service = _service(request)
    body, image, mask = await read_edit(request)
    service.check_drawing(body)
    service.note_words(request, body.prompt)
    orders = await service.prepare(service.asker.edit, body, image, mask)
    return await images.answer(service, request, body, orders, "image_edit")


@router.post("/v1/chat/completions", response_model=Chat, responses=STREAMED)
async def complete(body: ChatCompletion, request: Request) -> Response:
    """Answer a conversation in words and pictures."""
    return await chat.answer(_service(request), request, body)


@router.post("/v1/responses", response_model=Created, responses=STREAMED)
async def respond(body: ResponseCreation, request: Request) -> Response:
    """Answer a conversation, with the image_generation tool."""
    return await responses.answer(_service(request), request, body)


@router.get("/v1/models", response_model=Models, responses=ERRORS)
async def models(request: Request) -> Response:
    """The one model there is."""
    return json_response({"object": "list", "data": [_service(request).about]})


@router.get("/v1/models/{model:path}", response_model=Model, responses=ERRORS)
async def model(model: str, request: Request) -> Response:
    """What there is to know of it."""
    service = _service(request)
    service.check_model(model)
    return json_response(service.about)


@router.head("/health", include_in_schema=False)
@router.get("/health", response_model=Health, responses={503: {"model": Health, "description": "not serving"}})
async def health(request: Request) -> Response:
    """Whether requests are answered."""
    service = _service(request)
    return json_response({"status": service.health}, 200 if service.health == "ok" else 503)


@router.get("/metrics", response_class=PlainTextResponse, responses=ERRORS)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(_service(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page to play in."""
    return FileResponse(_static() / "index.html", headers=_HEADERS)


class Page(StaticFiles):
    """The page's files."""

    def file_response(self, *arguments: Any, **settings: Any) -> Response:
        """A file, with the headers that keep it from anything else."""
        response = super().file_response(*arguments, **settings)
        response.headers.update(_HEADERS)
        return response


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _static() -> Path:
    return Path(str(files("illume.serve") / "static"))


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return of_status(error).response()


async def _on_fields(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_fields(error.errors()).response()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schema["components"]["schemas"]["ImageEditForm"] = form_schema()
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}, {}]  # a server without keys asks for none
        schema["paths"]["/health"]["get"]["security"] = []
        app.openapi_schema = schema
    return app.openapi_schema
