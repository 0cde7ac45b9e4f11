"""Bodies: any JSON is taken or refused in OpenAI's shape; each field that OpenAI's client knows is known here."""

import json
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import image_edit_params, image_generate_params
from openai.types.chat import ChatCompletionMessage, completion_create_params
from openai.types.responses import ResponseOutputMessage, ResponseOutputText, response_create_params, tool_param
from openai.types.responses.response_output_item import ImageGenerationCall
from pydantic import BaseModel, ValidationError

from illume.serve.errors import of_fields
from illume.serve.schema import ImageEdit, ImageGeneration
from illume.serve.schema_chat import AssistantMessage, ChatCompletion
from illume.serve.schema_responses import ImageCall, ImageTool, InputMessage, InputText, ResponseCreation

BODIES = (ImageGeneration, ImageEdit, ChatCompletion, ResponseCreation)
LEAST: dict[type[BaseModel], dict[str, Any]] = {
    ImageGeneration: {"prompt": "a"},
    ImageEdit: {"prompt": "a"},
    ChatCompletion: {"messages": [{"role": "user", "content": "a"}]},
    ResponseCreation: {"input": "a"},
    ImageTool: {"type": "image_generation"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["auto", "user"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def refusal(body: type[BaseModel], value: Any) -> dict[str, Any] | None:
    """How a value is refused; None where it is taken."""
    try:
        body.model_validate(value)
    except ValidationError as error:
        answer: dict[str, Any] = of_fields(error.errors(include_url=False)).body()["error"]
        json.dumps(answer, allow_nan=False)
        return answer
    return None


@pytest.mark.parametrize("body", BODIES)
@given(value=JSON)
def test_anything_is_taken_or_refused(body: type[BaseModel], value: Any) -> None:
    answer = refusal(body, value)
    assert answer is None or (answer["message"] and answer["type"] == "invalid_request_error")


@pytest.mark.parametrize("body", BODIES)
@given(data=st.data())
def test_any_value_of_any_field_is_taken_or_refused_by_name(body: type[BaseModel], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(body.model_fields)))
    answer = refusal(body, LEAST[body] | {name: data.draw(JSON)})
    assert answer is None or answer["param"] is None or answer["param"].split(".")[0] == name


@pytest.mark.parametrize("body", LEAST)
@given(name=st.text(min_size=1, max_size=20), value=JSON)
def test_a_field_that_nobody_knows_is_refused(body: type[BaseModel], name: str, value: Any) -> None:
    if name not in body.model_fields:
        answer = refusal(body, LEAST[body] | {name: value})
        assert answer is not None
        assert answer["code"] == "unknown_parameter"


KNOWN = (
    (ImageGeneration, image_generate_params.ImageGenerateParamsBase, set()),
    (ImageEdit, image_edit_params.ImageEditParamsBase, {"image", "mask", "markup"}),  # files
    (
        ChatCompletion,
        completion_create_params.CompletionCreateParamsBase,
        {"prompt_cache_options", "prompt_cache_retention"},
    ),
    (
        ResponseCreation,
        response_create_params.ResponseCreateParamsBase,
        {"access_programs", "background_options", "image", "prompt_cache_options", "prompt_cache_retention"},
    ),
    (ImageTool, tool_param.ImageGeneration, set()),
)  # fmt: skip


def check_known(body: type[BaseModel], params: Any, unknown: set[str]) -> None:
    assert set(typing.get_type_hints(params)) - set(body.model_fields) == unknown


@pytest.mark.parametrize(("body", "params", "unknown"), KNOWN)
def test_each_field_of_openais_client_is_known(body: type[BaseModel], params: Any, unknown: set[str]) -> None:
    check_known(body, params, unknown)


SENT_BACK = (
    (ImageCall, ImageGenerationCall), (InputMessage, ResponseOutputMessage), (InputText, ResponseOutputText),
    (AssistantMessage, ChatCompletionMessage),
)  # fmt: skip


@pytest.mark.parametrize(("part", "sent"), SENT_BACK)
def test_each_field_of_an_answer_as_openais_client_gives_it_back_is_known(
    part: type[BaseModel], sent: type[BaseModel]
) -> None:
    assert set(sent.model_fields) <= set(part.model_fields)


def test_the_check_catches_a_field_that_was_forgotten() -> None:
    class Forgetful(BaseModel):
        prompt: str

    with pytest.raises(AssertionError):
        check_known(Forgetful, image_generate_params.ImageGenerateParamsBase, set())


@pytest.mark.parametrize("body", LEAST)
def test_null_says_nothing(body: type[BaseModel]) -> None:
    needed = set(LEAST[body])
    for name in set(body.model_fields) - needed:
        assert refusal(body, LEAST[body] | {name: None}) is None


UNKEPT: tuple[tuple[type[BaseModel], dict[str, Any], str], ...] = (
    (ImageGeneration, {"quality": "high"}, "quality"),
    (ImageGeneration, {"background": "transparent"}, "background"),
    (ImageGeneration, {"response_format": "url"}, "response_format"),
    (ImageGeneration, {"style": "vivid"}, "style"),
    (ImageGeneration, {"output_format": "gif"}, "output_format"),
    (ImageGeneration, {"partial_images": 2}, "stream=true"),
    (ImageGeneration, {"partial_images": 4, "stream": True}, "partial_images"),
    (ImageGeneration, {"output_compression": 50}, "output_compression"),
    (ImageGeneration, {"n": 11}, "n:"),
    (ImageGeneration, {"seed": -1}, "seed"),
    (ImageGeneration, {"temperature": float("nan")}, "temperature"),
    (ImageGeneration, {"temperature": 1e-300}, "temperature"),
    (ImageGeneration, {"top_p": 1e-46}, "top_p"),
    (ImageEdit, {"input_fidelity": "high"}, "input_fidelity"),
    (ChatCompletion, {"stop": ["."]}, "stop"),
    (ChatCompletion, {"logprobs": True}, "logprobs"),
    (ChatCompletion, {"tools": [{"type": "function"}]}, "tools"),
    (ChatCompletion, {"presence_penalty": 0.5}, "presence_penalty"),
    (ChatCompletion, {"response_format": {"type": "json_object"}}, "response_format"),
    (ChatCompletion, {"store": True}, "store"),
    (ChatCompletion, {"modalities": ["audio"]}, "modalities"),
    (ChatCompletion, {"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    (ChatCompletion, {"modalities": ["image"], "max_tokens": 8}, "max_tokens"),
    (ChatCompletion, {"modalities": ["image"], "max_completion_tokens": 8}, "max_completion_tokens"),
    (ChatCompletion, {"output_format": "webp"}, "output_format"),
    (ChatCompletion, {"modalities": ["text"], "output_compression": 100}, "output_compression"),
    (ChatCompletion, {"messages": []}, "messages"),
    (ChatCompletion, {"messages": [{"role": "assistant", "content": "a"}]}, "messages"),
    (ResponseCreation, {"previous_response_id": "resp_1"}, "previous_response_id"),
    (ResponseCreation, {"background": True}, "background"),
    (ResponseCreation, {"tools": [{"type": "web_search"}]}, "tools"),
    (ResponseCreation, {"tool_choice": "required"}, "tool_choice"),
    (ResponseCreation, {"tools": [{"type": "image_generation", "seed": 1}], "seed": 2}, "seed"),
    (ResponseCreation, {"tools": [{"type": "image_generation", "partial_images": 2}]}, "stream=true"),
    (
        ResponseCreation,
        {"tools": [{"type": "image_generation"}], "tool_choice": "required", "max_output_tokens": 8},
        "max_output_tokens",
    ),
)


@pytest.mark.parametrize(("body", "fields", "named"), UNKEPT)
def test_a_wish_that_cannot_be_kept_is_refused_by_name(
    body: type[BaseModel], fields: dict[str, Any], named: str
) -> None:
    answer = refusal(body, LEAST[body] | fields)
    assert answer is not None
    assert named in answer["message"]


DEFAULTS: tuple[tuple[type[BaseModel], dict[str, Any]], ...] = (
    (ImageGeneration, {"quality": "auto", "background": "auto", "moderation": "low", "user": "u", "size": "auto"}),
    (ImageGeneration, {"response_format": "b64_json", "output_format": "webp", "output_compression": 50, "n": 10}),
    (ImageGeneration, {"stream": True, "partial_images": "rows", "negative_prompt": ""}),
    (ChatCompletion, {"tools": [], "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False, "stop": None}),
    (ChatCompletion, {"metadata": {"a": "b"}, "service_tier": "auto", "store": False, "parallel_tool_calls": True}),
    (ChatCompletion, {"modalities": ["image"], "output_format": "webp", "output_compression": 50}),
    (ChatCompletion, {"modalities": ["image", "text"], "output_format": "png", "max_tokens": 8}),
    (ResponseCreation, {"tools": [{"type": "image_generation", "partial_images": 0}], "max_output_tokens": 8}),
    (ResponseCreation, {"store": False, "include": [], "truncation": "disabled", "tool_choice": "auto"}),
)


@pytest.mark.parametrize(("body", "fields"), DEFAULTS)
def test_what_asks_for_nothing_more_is_taken(body: type[BaseModel], fields: dict[str, Any]) -> None:
    assert refusal(body, LEAST[body] | fields) is None


@given(st.text(max_size=50))
def test_a_refusal_repeats_no_value(secret: str) -> None:
    for fields in ({"prompt": [secret]}, {"prompt": "a", "n": secret}, {"prompt": "a", "quality": f"<{secret}>"}):
        answer = refusal(ImageGeneration, fields)
        assert answer is not None
        assert len(secret) < 8 or secret not in answer["message"]


def test_a_form_spells_numbers() -> None:
    read = ImageEdit.model_validate({"prompt": "1", "n": "2", "seed": "3", "guidance_scale": "1.5", "stream": "false"})
    assert (read.prompt, read.n, read.seed, read.guidance_scale, read.stream) == ("1", 2, 3, 1.5, False)
    assert refusal(ImageEdit, {"prompt": "a", "n": "two"}) is not None
    assert refusal(ImageGeneration, {"prompt": "a", "n": "2"}) is not None
