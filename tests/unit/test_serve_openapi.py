"""The OpenAPI document and the server agree: whatever it allows is answered in a way that it names."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from fixtures.serving import Served, quiet, served, until
from illume.serve.errors import ApiError
from illume.serve.settings import Limits

CHECKS = (not_a_server_error, status_code_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(max_length=96, limits=Limits(n=2)) as found:
        yield found
        until(lambda: quiet(found.service))


@pytest.fixture(scope="module")
def api(server: Served) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


OPERATIONS = (
    ("POST", "/v1/images/generations"), ("POST", "/v1/images/edits"), ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"), ("GET", "/v1/models"), ("GET", "/v1/models/{model}"), ("GET", "/health"),
    ("GET", "/metrics"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_the_document_allows_is_answered_as_it_says(api: Any, method: str, path: str) -> None:
    @settings(max_examples=8, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=api[path][method].as_strategy())
    def answered(case: Any) -> None:
        if isinstance(case.body, dict) and case.body.get("stream"):
            case.body["stream"] = False  # events are told of by no schema
            case.body.pop("partial_images", None)
            case.body.pop("stream_options", None)
        case.call_and_validate(checks=CHECKS)

    answered()


def test_the_document_tells_of_keys_events_and_forms(api: Any) -> None:
    document = api.raw_schema
    assert document["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    assert document["security"] == [{"key": []}, {}]
    assert document["paths"]["/health"]["get"]["security"] == []
    for method, path in OPERATIONS:
        content = document["paths"][path][method.lower()]["responses"]["200"]["content"]
        assert ("text/event-stream" in content) == (method == "POST")
        assert path == "/metrics" or "application/json" in content
    form = document["components"]["schemas"]["ImageEditForm"]
    assert {"image", "image[]", "mask", "prompt"} <= set(form["properties"])
    assert form["anyOf"] == [{"required": ["image"]}, {"required": ["image[]"]}]


def test_no_operation_is_left_out(api: Any) -> None:
    assert {(method.upper(), path) for path, methods in api.raw_schema["paths"].items() for method in methods} == set(
        OPERATIONS
    )


def test_the_check_catches_a_status_that_the_document_does_not_name(
    server: Served, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def teapot(*_: object) -> None:
        raise ApiError(418, "short and stout")

    monkeypatch.setattr(server.service, "check_model", teapot)
    case = api["/v1/models/{model}"]["GET"].Case(path_parameters={"model": "a"})
    with pytest.raises(FailureGroup):
        case.call_and_validate(checks=CHECKS)
