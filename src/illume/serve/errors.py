"""Errors as OpenAI's clients know them: a status, and {"error": {message, type, param, code}}; it knows no endpoint.

400: a request that says something wrong, or what this model cannot do. 422: well said, but what it brought (an image)
cannot be used. What went wrong on our side is never told, but for its request id.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from illume.core.errors import ContextError, DataError, FormatError, IllumeError, RequestError

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {
    400: "invalid_request", 401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 408: "timeout",
    413: "request_too_large", 422: "unprocessable", 429: "too_many_requests", 499: "client_gone", 500: "server_error",
    503: "unavailable",
}  # fmt: skip
_ALTERNATIVES = {"str", "int", "constrained-str", "constrained-int"}
_KINDS = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


class ApiError(HTTPException):
    """An answer other than the one that was asked for. `param`: the field of the request that is to blame."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.message = message
        self.param = param
        self.code = code or _CODES.get(status, "error")

    def body(self) -> dict[str, Any]:
        """The error as OpenAI spells it."""
        kind = _TYPES.get(self.status_code, "server_error" if self.status_code >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The whole answer."""
        return json_response(self.body(), self.status_code, self.headers)


class ClientGoneError(Exception):
    """Nobody is left to answer."""


def bad(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that cannot be served as it stands."""
    return ApiError(400, message, param=param, code=code)


def of_illume(error: IllumeError) -> ApiError:
    """What the model says of a request."""
    if isinstance(error, ContextError):
        return bad(str(error), code="context_length_exceeded")
    if isinstance(error, RequestError | FormatError):
        return bad(str(error))
    if isinstance(error, DataError):
        return ApiError(422, str(error), code="invalid_image")
    return internal()


def internal() -> ApiError:
    """Something that went wrong here."""
    return ApiError(500, "the server could not answer this request; its log says why, by the request id")


def of_status(error: HTTPException) -> ApiError:
    """An error of the framework: no such path, another method."""
    if isinstance(error, ApiError):
        return error
    said = {404: "no such path", 405: "this path takes other methods; the header Allow names them"}
    message = said.get(error.status_code, str(error.detail))
    return ApiError(error.status_code, message, headers=error.headers)


def of_fields(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """What is wrong with a request's fields: the first problem, of the alternative that came furthest."""
    problem = max(problems, key=lambda one: (len(one["loc"]), not str(one["type"]).endswith("_type")))
    if problem["type"] == "json_invalid":
        return bad(f"the body is no JSON: {problem.get('ctx', {}).get('error', '')} at character {problem['loc'][-1]}")
    where = problem["loc"][1:] if problem["loc"][:1] == ("body",) else problem["loc"]
    unknown = problem["type"] == "extra_forbidden"  # then the last name is whatever was sent
    names = [str(name) for i, name in enumerate(where) if (unknown and i + 1 == len(where)) or not _is_type(name)]
    param = ".".join(names)[:100] or None
    if unknown:
        return bad(f"unknown parameter: {param!r}", param, _KINDS["extra_forbidden"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return bad(f"{param}: {message}" if param else message, param, _KINDS.get(problem["type"], "invalid_value"))


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII: whatever text it holds, it can be written."""
    content = json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    return Response(content, status, dict(headers or {}), media_type="application/json")


def _is_type(name: object) -> bool:
    """Whether a piece of a location names an alternative of a union, not a field: `str`, `list[...]`, a class."""
    return isinstance(name, str) and (name in _ALTERNATIVES or name.endswith("]") or name[:1].isupper())
