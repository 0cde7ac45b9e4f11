"""A model folder comes back as it went, is refused where it is not whole, and does what it is asked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import illume
from fixtures.tiny_model_folder import SIZE, tiny_illume, tiny_parts
from illume.api import Illume, Result, Turn
from illume.core.errors import CheckpointError, DataError, ModelError, RequestError
from illume.generate.shown import conversation
from illume.images.masks import MARKER
from illume.tasks import prompts
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.messages import ImagePart, TextPart


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def answers(model: Illume) -> list[tuple[int, ...]]:
    requests = [model.draw_request("a red circle", seed=3), model.edit_request(picture(), "remove it", seed=4)]
    requests += [model.ask_request(picture(1), "how many?", 5), model.draw_request("another", guidance=1.0)]
    return [result.ids for result in model.run(requests)]


def test_a_saved_model_loads_and_answers_with_the_same_ids(saved_model: Path) -> None:
    loaded = illume.load(str(saved_model), device="cpu", dtype="float32")
    assert loaded.folder == saved_model
    assert answers(loaded) == answers(tiny_illume())
    assert loaded.parts.generation == tiny_parts().generation
    assert loaded.reconstruct(picture()).tobytes() == tiny_illume().reconstruct(picture()).tobytes()
    assert loaded.draw("x")[0].tobytes() == tiny_illume().draw("x")[0].tobytes()


def test_the_folder_has_its_parts_a_card_and_no_pickle(saved_model: Path) -> None:
    names = {str(path.relative_to(saved_model)) for path in saved_model.rglob("*") if path.is_file()}
    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"}
    assert expected <= names
    assert {"vision_tokenizer/model.safetensors", "pixel_decoder/config.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    card = (saved_model / "README.md").read_text()
    assert "illume.load" in card
    assert "8 x 8 pixels" in card


def test_a_failed_save_leaves_the_old_folder(model_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in model_copy.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tiny_parts().pixel_decoder), "save", full)
    with pytest.raises(CheckpointError, match="No space"):
        tiny_illume().save(model_copy)
    assert {path: path.read_bytes() for path in model_copy.rglob("*") if path.is_file()} == before
    assert [path.name for path in model_copy.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "weights are missing"),
        ("tokenizer.json", "tokenizer.json missing"),
        ("vision_tokenizer", "vision_tokenizer/config.json missing"),
        ("pixel_decoder", "pixel_decoder/config.json missing"),
    ],
)
def test_a_missing_part_is_named(model_copy: Path, missing: str, words: str) -> None:
    path = model_copy / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelError, match=words):
        illume.load(model_copy)


def test_pickled_weights_are_never_opened(model_copy: Path) -> None:
    (model_copy / "model.safetensors").rename(model_copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*pickles are never loaded"):
        illume.load(model_copy)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("format_version", 99, "format_version 99"),
        ("model_type", "llama", "llama"),
        ("image_size", "large", "image_size"),
        ("generation", {"drw": {}}, "drw"),
        ("vocabulary", None, "vocabulary"),
    ],
)
def test_another_configuration_is_refused(model_copy: Path, key: str, value: object, words: str) -> None:
    config = json.loads((model_copy / "config.json").read_text())
    (model_copy / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ModelError, match=words):
        illume.load(model_copy)


def test_a_name_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ModelError, match="neither a folder nor"):
        illume.load("nobody/nothing-here")


def test_drawing_many_gives_each_prompt_its_pictures_in_order() -> None:
    model = tiny_illume(strict=True)
    together = model.draw(["one", "two"], n=2, seed=5)
    alone = [model.draw(prompt, seed=seed)[0] for prompt in ("one", "two") for seed in (5, 6)]
    assert [image.tobytes() for image in together] == [image.tobytes() for image in alone]
    assert all(image.size == SIZE for image in together)


def test_settings_reach_the_sampling() -> None:
    model = tiny_illume()
    request = model.draw_request("x", guidance=3.0, temperature=0, top_k=2, top_p=0.5)
    assert request.guidance == 3.0
    assert request.sampling_of("level0") == illume.api.Sampling(0, 2, 0.5)
    assert model.edit_request(picture(), "x").guidance == tiny_parts().generation.edit.guidance
    with pytest.raises(RequestError, match="temperature"):
        model.draw("x", temperature=-1.0)


def test_editing_gives_pictures_of_the_model_s_size() -> None:
    versions = tiny_illume().edit(picture(2, (20, 30)), "remove it", n=3)
    assert [image.size for image in versions] == [SIZE] * 3


def white_box(box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


@pytest.mark.parametrize("instruction", ["a red circle", None])
def test_a_masked_edit_changes_the_region_alone_and_draws_what_is_asked_of_the_marked_image(
    instruction: str | None,
) -> None:
    model, source, box = tiny_illume(), picture(2, SIZE), (2, 3, 7, 6)
    made = model.edit(source, instruction, n=2, seed=4, mask=box)
    (raw,) = model.edit(source, instruction, seed=4, mask=white_box(box, SIZE), composite=False)
    shown = np.array(source)
    shown[3:6, 2:7] = MARKER
    request = model.inpaint_request(shown, instruction, seed=4)
    assert raw.tobytes() == model.pictures([request])[0].tobytes()
    for one in made:
        changed = (np.array(one) != np.array(source)).any(axis=-1)
        assert changed[3:6, 2:7].any()
        changed[3:6, 2:7] = False
        assert not changed.any()
    assert np.array_equal(np.array(made[0])[3:6, 2:7], np.array(raw)[3:6, 2:7])
    assert made[0].tobytes() != made[1].tobytes()


def test_a_mask_of_a_larger_image_is_fitted_with_it() -> None:
    source = picture(2, (2 * SIZE[0], 2 * SIZE[1]))
    (made,) = tiny_illume().edit(source, None, mask=white_box((8, 8, 12, 12), source.size))
    kept = np.array(tiny_illume().pixels(source))
    changed = (np.array(made) != kept).any(axis=-1)
    assert changed[4:6, 4:6].any()
    changed[3:7, 3:7] = False  # the seam that resizing blurs is painted anew too
    assert not changed.any()


def test_an_edit_says_what_it_lacks_and_what_does_not_fit() -> None:
    model = tiny_illume()
    with pytest.raises(RequestError, match="say what to change, or give a mask"):
        model.edit(picture(), None)
    with pytest.raises(DataError, match="make them one size"):
        model.edit(picture(2, (20, 30)), "x", mask=white_box((0, 0, 5, 5), (20, 30)))
    with pytest.raises(DataError, match="marks nothing of what is left"):
        model.edit(picture(2, (90, 30)), "x", mask=(0, 0, 30, 5))


def test_every_kind_of_image_is_the_same_image(tmp_path: Path) -> None:
    model, image = tiny_illume(), picture(4, (16, 16))
    image.save(tmp_path / "a.png")
    rgba = image.convert("RGBA")
    kinds = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        (tmp_path / "a.png").read_bytes(),
        image,
        np.array(image),
        rgba,
    ]
    assert len({model.pixels(kind).tobytes() for kind in kinds}) == 1
    with pytest.raises(DataError, match="uint8"):
        model.pixels(np.zeros((8, 8, 3), dtype=np.float32))


def test_a_question_and_its_messages_get_the_same_answer() -> None:
    model = tiny_illume()
    said = model.chat("how many?", [picture()], max_new_text=6)
    messages = prompts.ask(ImagePart(model.frame, image="a"), "how many?")
    assert model.chat(messages, {"a": picture()}, max_new_text=6) == said
    assert isinstance(said, str)


def test_history_and_its_images_are_part_of_the_question() -> None:
    history = [Turn("what?", (picture(1),), "a circle"), Turn("and?", (), "nothing")]
    messages, shown = conversation("how many?", [picture(2)], history, tiny_illume().frame)
    assert [message.role for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert len(shown) == 2
    assert messages[1].parts == (TextPart("a circle"),)


def test_a_free_conversation_may_answer_with_pictures() -> None:
    model = tiny_illume()
    found = [part for seed in range(3) for part in model.chat("draw", mode="auto", seed=seed, temperature=3.0)]
    assert found
    assert all(isinstance(part, str | Image.Image) for part in found)


def test_images_are_given_the_way_the_question_is() -> None:
    with pytest.raises(RequestError, match="by name"):
        tiny_illume().chat(prompts.chat([("user", "hello")]), [picture()])
    with pytest.raises(RequestError, match="as a list"):
        tiny_illume().chat("hello", {"a": picture()})
    for alone in ("a.png", b"a", picture(), Path("a.png"), None):
        for question in ("hello", prompts.chat([("user", "hello")])):
            with pytest.raises(RequestError, match="in a list"):
                tiny_illume().chat(question, alone)
    for mode in ("txt", "image", None):
        with pytest.raises(RequestError, match="mode is one of 'auto', 'text'"):
            tiny_illume().chat("hello", mode=mode)


def test_an_assessment_is_a_verdict_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_illume()
    with pytest.raises(DataError, match="verdict"):
        model.assess(picture(), "a red circle")
    verdict = Verdict.of({name: Criterion(True, "seen", True) for name in CRITERIA})
    monkeypatch.setattr(Result, "text", verdict.to_json())
    assert model.assess(picture(), "a red circle") == verdict


def test_an_interrupted_answer_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model, expected = tiny_illume(), answers(tiny_illume())

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("illume.generate.runner.Runner.advance", stopped)
        with pytest.raises(KeyboardInterrupt):
            model.draw("half a picture")
    assert answers(model) == expected


def test_a_saved_session_is_loaded_with_its_model(saved_model: Path, tmp_path: Path) -> None:
    session = tiny_illume().session(seed=3)
    session.draw("x")
    session.save(tmp_path / "session")
    for model in (saved_model, str(saved_model), tiny_illume()):
        assert illume.load_session(tmp_path / "session", model).turns == session.turns


def test_a_setting_without_use_is_refused() -> None:
    with pytest.raises(RequestError, match="max_new_text is for words"):
        tiny_illume().request("draw", prompts.draw("x"), {}, max_new_text=3)
    with pytest.raises(RequestError, match="guidance is for pictures"):
        tiny_illume().request("ask", prompts.chat([("user", "x")]), {}, guidance=2.0)


def test_nothing_asked_is_nothing_answered() -> None:
    assert tiny_illume().run([]) == []


def test_bfloat16_draws_too(saved_model: Path) -> None:
    model = illume.load(saved_model, device="cpu", dtype="bfloat16")
    assert model.parts.model.embedding.text.dtype == torch.bfloat16
    assert model.draw("a red circle")[0].size == SIZE
    assert isinstance(model.chat("what?", [picture()], max_new_text=3), str)
