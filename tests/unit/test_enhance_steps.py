"""The steps of a round: what they write, what they refuse, what stands when a person edits a file, what is a target."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fixtures.drawings import picture
from fixtures.rounds import PAINTING, PROMPTS, ByContent, prompts_file, rows, small_illume, tree, verdict, whole_round
from illume.core.errors import CheckpointError, DataError
from illume.data.examples import Pictures, drawn_keys, messages
from illume.data.records import Record, read_records
from illume.data.world_images import WorldImages
from illume.data.world_source import WorldSource
from illume.enhance import compose as compose_module
from illume.enhance import propose as propose_module
from illume.enhance.assess import assess
from illume.enhance.compose import Composing, bad_images, check_round, check_targets, compose, judged, to_record
from illume.enhance.paint import paint, room
from illume.enhance.propose import SCHEMA, from_file, from_source, propose, read_prompts
from illume.enhance.round import RoundFolder
from illume.judge.drawings import read_drawings
from illume.judge.protocol import Failure, Identity
from illume.judge.verdicts import read_verdicts
from illume.tasks import prompts
from illume.vocab.messages import ImageFrame, ImagePart, TextPart
from illume.world import PICO, text_split, understand


@pytest.fixture
def done(tmp_path: Path) -> RoundFolder:
    return whole_round(tmp_path / "round", prompts_file(tmp_path))


def test_a_round_is_four_files_keyed_by_content(done: RoundFolder) -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    for row in rows(done.prompts):
        validator.validate(row)
    drawings, verdicts = read_drawings(done.drawings), read_verdicts(done.verdicts)
    assert [one.prompt for one in drawings] == [text for text in PROMPTS for _ in range(PAINTING.per_prompt)]
    assert len({one.content for one in drawings}) == len(drawings)
    assert [one.key for one in verdicts] == [one.key for one in drawings]
    records, _ = read_records(done.records)
    passed = {one.key: one.passed for one in verdicts if not isinstance(one.outcome, Failure)}
    assert [record.id for record in records] == list(passed)
    truth = f"truth/{rows(done.prompts)[0]['key']}.png"
    for record in records:
        assert record.verdict is not None
        assert record.verdict.overall == passed[record.id or ""]
        if record.verdict.overall:
            assert len(record.images) == 1
        elif record.text == PROMPTS[0]:
            assert record.images[1] == truth


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "a red circle\n\nb\n", [r"a\.txt:2: the prompt is empty"]),
        ("a.txt", "a\nb\na\nb\n", [r"a\.txt:3: .*stands already at .*a\.txt:1", r"a\.txt:4: "]),
        ("a.txt", "", ["the file is empty"]),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": " "}\n', [r"a\.jsonl:2: prompt is empty"]),
        ("a.jsonl", '{"prompt": "a"}\n{"text": "b"}\nno\n', [r"a\.jsonl:2: .*'text'", r"a\.jsonl:3: not JSON"]),
        ("a.jsonl", '{"prompt": "a", "image": "none.png"}\n', [r"a\.jsonl:1: .*none\.png is not there"]),
        ("a.jsonl", '{"prompt": "a", "spec": 3}\n', [r"a\.jsonl:1: spec has to be an object"]),
        ("a.jsonl", '{"prompt": 3}\n', [r"a\.jsonl:1: prompt has to be a text"]),
    ],
)
def test_bad_prompts_are_named_by_line(tmp_path: Path, name: str, text: str, words: list[str]) -> None:
    (tmp_path / name).write_text(text)
    folder = RoundFolder(tmp_path / "round")
    for word in words:
        with pytest.raises(DataError, match=word):
            propose(folder, from_file(tmp_path / name))
    assert not folder.path.exists()


def test_prompts_too_long_are_named_by_line_before_anything_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("short\n" + "long " * 100 + "\n")
    folder = RoundFolder(tmp_path / "round")
    with pytest.raises(DataError, match=r"a\.txt:2: the request needs \d+ positions"):
        propose(folder, from_file(path), room(small_illume()))
    propose(folder, from_file(path))  # whoever knows no model
    with pytest.raises(DataError, match=r"prompts\.jsonl:2: "):
        paint(folder, small_illume(), PAINTING)


def test_prompts_of_the_world_are_of_its_training_texts_with_their_pictures(tmp_path: Path) -> None:
    source = WorldSource(WorldImages(PICO, "train", 40, 1), "draw")
    folder = RoundFolder(tmp_path / "round")
    found = propose(folder, from_source(source, 30, seed=3))
    assert {text_split(p.text, understand(p.text), PICO) for p in found} == {"train"}
    assert all(prompt.image is not None and prompt.image.is_file() for prompt in found)
    assert [p.text for p in found] != [w.text for w in from_source(source, 30, seed=4)]
    with pytest.raises(DataError, match="different texts"):
        from_source(source, 10_000, seed=3)


def test_a_file_edited_by_hand_stands_while_nothing_before_it_changes(done: RoundFolder, tmp_path: Path) -> None:
    kept = done.records.read_text().splitlines()[:1]
    done.records.write_text(kept[0] + "\n")
    whole_round(done.path, tmp_path / "asked.jsonl")
    assert done.records.read_text().splitlines() == kept
    fewer = done.prompts.read_text().splitlines()[:2]
    done.prompts.write_text("\n".join(fewer) + "\n")
    with pytest.raises(CheckpointError, match=r"records\.jsonl was edited by hand"):
        whole_round(done.path, tmp_path / "asked.jsonl")
    assert done.records.read_text().splitlines() == kept
    assert len(read_drawings(done.drawings)) == 2 * PAINTING.per_prompt
    done.records.unlink()
    whole_round(done.path, tmp_path / "asked.jsonl")
    assert {record.text for record in read_records(done.records)[0]} <= set(PROMPTS[:2])


def test_verdicts_edited_by_hand_stand_and_make_other_records(done: RoundFolder, tmp_path: Path) -> None:
    lines = rows(done.verdicts)
    number = next(i for i, line in enumerate(lines) if "failure" in line)
    del lines[number]["failure"]
    lines[number]["verdict"] = json.loads(verdict(False).to_json())
    done.verdicts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = len(rows(done.records))
    judge = ByContent()
    whole_round(done.path, tmp_path / "asked.jsonl", judge)
    assert not judge.asked
    assert len(rows(done.records)) == before + 1


def test_edited_records_stand_whatever_lines_are_added_that_hold_for_none_of_them(done: RoundFolder) -> None:
    edited = done.records.read_text().splitlines()[0] + "\n"
    done.records.write_text(edited)
    other = ByContent()
    other.identity = Identity("another")
    assess(done, other)
    assess(done, ByContent())
    compose(done)
    assert done.records.read_text() == edited


def test_another_judge_makes_other_records(done: RoundFolder) -> None:
    before = done.records.read_bytes()
    assess(done, Only(lambda: verdict(False)))
    compose(done)
    assert not any(row["verdict"]["overall"] for row in rows(done.records))  # type: ignore[index]
    assess(done, ByContent())  # who said all before: no line is added
    compose(done)
    assert done.records.read_bytes() == before


def test_another_model_or_other_settings_do_not_go_on(done: RoundFolder) -> None:
    with pytest.raises(CheckpointError, match="other settings"):
        paint(done, small_illume(), replace(PAINTING, seed=1))
    note = json.loads((done.path / "round.json").read_text())
    note["steps"]["paint"]["of"]["drawer"] = "illume-0"
    (done.path / "round.json").write_text(json.dumps(note))
    with pytest.raises(CheckpointError, match="another model"):
        paint(done, small_illume(), PAINTING)


def test_drawings_deleted_as_the_error_says_are_drawn_and_judged_anew(done: RoundFolder) -> None:
    anew = replace(PAINTING, seed=1)
    with pytest.raises(CheckpointError, match=r"delete drawings\.jsonl there to draw anew"):
        paint(done, small_illume(), anew)
    done.drawings.unlink()
    paint(done, small_illume(), anew)
    lines = assess(done, ByContent())
    compose(done)
    drawn = read_drawings(done.drawings)
    assert [line.key for line in lines] == [one.key for one in drawn]
    assert len(rows(done.verdicts)) == 2 * len(drawn)
    assert {record.id for record in read_records(done.records)[0]} <= {one.key for one in drawn}


def test_a_deleted_picture_is_drawn_again_unless_its_line_is_gone_too(done: RoundFolder) -> None:
    before = tree(done.path)
    images = [str(row["image"]) for row in rows(done.drawings)]
    for image in images[1:3]:
        (done.path / image).unlink()
    paint(done, small_illume(), PAINTING)
    assert tree(done.path) == before
    done.drawings.write_text("".join(done.drawings.read_text().splitlines(keepends=True)[1:]))
    for image in images[:2]:
        (done.path / image).unlink()
    paint(done, small_illume(), PAINTING)
    assert [(done.path / image).is_file() for image in images[:2]] == [False, True]


def test_a_key_stands_once_among_the_prompts(done: RoundFolder) -> None:
    first, second, *_ = rows(done.prompts)
    done.prompts.write_text("".join(json.dumps({**row, "key": first["key"]}) + "\n" for row in (first, second)))
    with pytest.raises(DataError, match=r"prompts\.jsonl:2: the key .* is taken by .*prompts\.jsonl:1"):
        read_prompts(done.prompts)


def test_steps_before_are_asked_for(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path)
    with pytest.raises(CheckpointError, match="'propose'"):
        paint(folder, small_illume(), PAINTING)
    propose(folder, from_file(prompts_file(tmp_path)))
    with pytest.raises(DataError, match=r"drawings\.jsonl"):
        assess(folder, ByContent())
    with pytest.raises(CheckpointError, match="'assess'"):
        compose(folder)


class Only(ByContent):
    """Says one thing of every picture."""

    def __init__(self, say: Callable[[], Any]) -> None:
        super().__init__()
        self.identity = Identity("only")
        self.outcome = lambda drawing: say()  # type: ignore[method-assign]


def judged_by(folder: Path, judge: ByContent) -> RoundFolder:
    made = RoundFolder(folder / "round")
    propose(made, from_file(prompts_file(folder)))
    paint(made, small_illume(), PAINTING)
    assess(made, judge)
    return made


def test_without_any_verdict_there_is_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 malformed"):
        compose(judged_by(tmp_path, Only(lambda: Failure("malformed", "prose"))))


def test_corrections_are_drawn_from_the_truth_in_words_or_not_at_all(tmp_path: Path) -> None:
    folder = judged_by(tmp_path, Only(lambda: verdict(False)))
    for how, corrected in (("image", 2), ("text", 8), ("none", 0)):
        folder.records.unlink(missing_ok=True)
        assert compose(folder, Composing(how)).corrected == corrected  # type: ignore[arg-type]
    folder.records.unlink()
    compose(folder, Composing("text"))
    record = read_records(folder.records)[0][0]
    pictures = Pictures(ImageFrame(((2, 2),)))
    said = prompts.correct_in_words(pictures.read(record.images[0]), PROMPTS[0], verdict(False))
    assert messages(record, pictures) == said
    assert said[-1].parts == (TextPart("Wrong: colour: blue, not red. It should show: a red circle"),)


def test_the_best_of_the_drawings_corrects_where_there_is_no_truth(tmp_path: Path) -> None:
    made = RoundFolder(tmp_path / "round")
    propose(made, from_file(prompts_file(tmp_path, truths=())))
    paint(made, small_illume(), replace(PAINTING, per_prompt=6))
    assess(made, ByContent())
    assert compose(made).corrected
    passed = {line.key for line in read_verdicts(made.verdicts) if line.passed}
    by_prompt = {d.prompt: f"images/{d.key}.png" for d in reversed(read_drawings(made.drawings)) if d.key in passed}
    for record in read_records(made.records)[0]:
        assert record.images[1:] in ((), (by_prompt.get(record.text),))


def test_good_and_bad_are_balanced(tmp_path: Path) -> None:
    made = RoundFolder(tmp_path / "round")
    propose(made, from_file(prompts_file(tmp_path)))
    paint(made, small_illume(), replace(PAINTING, per_prompt=6))
    assess(made, ByContent())
    came = compose(made)
    for good in (0.0, 0.25, 0.5, 1.0):
        made.records.unlink()
        kept = compose(made, Composing(good=good))
        assert kept.good == pytest.approx(good * (kept.good + kept.bad), abs=1)
        assert (kept.good, kept.bad) <= (came.good, came.bad)
        left = kept.left_out.get("to balance good and bad", 0)
        assert kept.good + kept.bad + left == came.good + came.bad
    with pytest.raises(ValueError, match="share from 0 to 1"):
        Composing(good=2)


def check_never_a_target(folder: RoundFolder) -> None:
    """No bad picture is drawn in what the records teach, not even where guidance drops the instruction."""
    by_content = {line.content: line.passed for line in read_verdicts(folder.verdicts)}
    drawings = {f"images/{d.key}.png": by_content.get(d.content, False) for d in read_drawings(folder.drawings)}
    bad = {image for image, good in drawings.items() if not good}
    assert bad
    pictures = Pictures(ImageFrame(((1, 1),)), codes=lambda key: ((7,),))
    for record in read_records(folder.records)[0]:
        said = messages(record, pictures)
        forms = [said] if not drawn_keys(record) else [said, prompts.dropped(said, training=True)]
        for message in (message for form in forms for message in form if message.is_target):
            drawn = {str(part.image) for part in message.parts if isinstance(part, ImagePart)}
            assert not drawn & bad, f"a bad picture is a target: {record}"


@pytest.mark.parametrize("how", ["image", "text", "none"])
def test_a_bad_picture_is_never_a_target(done: RoundFolder, how: Any) -> None:
    done.records.unlink()
    compose(done, Composing(how))
    check_never_a_target(done)


def test_the_law_catches_a_bad_target(done: RoundFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two broken composers: one corrects with any drawing, one learns to draw what it was shown."""

    def any_drawing(one: Any, target: str | None, how: Any) -> Record:
        return to_record(one, one.image, how)

    def as_drawing(one: Any, target: str | None, how: Any) -> Record:
        return Record("draw", images=(one.image,), text=one.drawing.prompt, id=one.drawing.key)

    for broken in (any_drawing, as_drawing):
        monkeypatch.setattr(compose_module, "to_record", broken)
        done.records.unlink(missing_ok=True)
        with pytest.raises(DataError, match="did not pass, and would be learnt to be drawn"):
            compose(done)
        monkeypatch.setattr(compose_module, "check_targets", lambda records, bad: None)
        compose(done)
        with pytest.raises(AssertionError, match="a bad picture is a target"):
            check_never_a_target(done)
        monkeypatch.setattr(compose_module, "check_targets", check_targets)


def test_records_edited_into_a_bad_target_or_invalidity_are_refused(done: RoundFolder) -> None:
    check_round(done)
    first, *others = rows(done.records)
    found = compose_module.assessed(done, ByContent().identity)
    bad = sorted(bad_images(found))[0]
    for changed, words in (
        ({"task": "draw", "images": [bad], "text": "a red circle"}, r"records\.jsonl:1: .*would be learnt to be drawn"),
        ({**first, "verdict": {}}, r"records\.jsonl:1: .*object is missing"),
        ({**first, "colour": 1}, r"records\.jsonl:1: .*no field 'colour'"),
    ):
        done.records.write_text("".join(json.dumps(row) + "\n" for row in (changed, *others)))
        with pytest.raises(DataError, match=words):
            check_round(done)


@pytest.mark.parametrize("folder", ["./images", "images/../images", "images/", "images/./."])
def test_a_bad_picture_is_no_target_however_it_is_spelt(done: RoundFolder, folder: str) -> None:
    image = f"{folder}/{Path(min(bad_images(judged(done)))).name}"
    done.records.write_text(json.dumps({"task": "draw", "images": [image], "text": "a red circle"}) + "\n")
    with pytest.raises(DataError, match="would be learnt to be drawn"):
        check_round(done)


def test_where_nobody_judged_no_drawing_is_a_target(done: RoundFolder) -> None:
    good = next(one.image for one in judged(done) if compose_module.passed(one))
    done.records.write_text(json.dumps({"task": "draw", "images": [good], "text": "a red circle"}) + "\n")
    (done.path / "round.json").unlink()
    with pytest.raises(DataError, match="would be learnt to be drawn"):
        check_round(done)


def test_a_drawing_is_no_target_under_another_prompt(done: RoundFolder) -> None:
    good = next(one for one in judged(done) if compose_module.passed(one))
    other = next(text for text in PROMPTS if text != good.drawing.prompt)
    for text in (good.drawing.prompt, other):
        done.records.write_text(json.dumps({"task": "draw", "images": [f"./{good.image}"], "text": text}) + "\n")
        if text == other:
            with pytest.raises(DataError, match=r"records\.jsonl:1: .*was made for"):
                check_round(done)
        else:
            check_round(done)


def test_pictures_outside_the_round_are_refused(done: RoundFolder, tmp_path: Path) -> None:
    picture(9).save(tmp_path / "outside.png")
    lines = rows(done.drawings)
    for image in (str(tmp_path / "outside.png"), "../outside.png"):
        lines[0]["image"] = image
        done.drawings.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assess(done, ByContent())
        with pytest.raises(DataError, match="copy it there"):
            compose(done)


def test_a_damaged_true_picture_is_told(tmp_path: Path) -> None:
    asked = prompts_file(tmp_path)
    (tmp_path / "0.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"0\.png"):
        propose(RoundFolder(tmp_path / "round"), from_file(asked))
    assert tuple(json.loads(SCHEMA.read_text("utf-8"))["properties"]) == propose_module.FIELDS


def test_a_prompt_that_names_itself_is_read_again(done: RoundFolder, tmp_path: Path) -> None:
    """The prompts of one round are good for another one."""
    again = propose(RoundFolder(tmp_path / "again"), from_file(done.prompts))
    assert [p.text for p in again] == [p.text for p in read_prompts(done.prompts)]
