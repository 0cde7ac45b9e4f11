"""render and parse: loss, places, what is refused, and the golden file that fixes the format.

`python tests/unit/test_vocab_format.py` writes the golden file anew; a change in it is a new version of the format.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from illume.core.errors import FormatError
from illume.tasks import prompts
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.document import pieces
from illume.vocab.format import Rendered, parse, parse_parts, render, render_read
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImageFrame, ImagePart, Message, SizePart, TextPart
from illume.vocab.text import CHATML, PLAIN, VICUNA, ChatTemplate, TextFormat, train_byte_bpe

GOLDEN = Path(__file__).parent / "golden" / "format.json"
VERDICT = Verdict.of({name: Criterion(name != "relation", "2 {red} circles", name != "counting") for name in CRITERIA})


@cache
def text_format(template: ChatTemplate = PLAIN) -> TextFormat:
    specials = tuple(dict.fromkeys(PLAIN.specials + CHATML.specials + VICUNA.specials))
    return TextFormat(train_byte_bpe([], 256 + len(specials), specials), template)


ONE = VocabLayout(text_format().size, (512,), num_sizes=0, row_ends=False, level_markers=False)
TWO = VocabLayout(text_format().size, (32, 96), sides=tuple((n, 2 * n) for n in range(1, 17)))
DEEP = VocabLayout(text_format().size, (8, 12), num_sizes=0, row_ends=False, level_markers=False, depths=(2,))
SMALL, BASE = ImageFrame(((2, 2),)), ImageFrame(((9, 9), (16, 16)))


def small(first: int) -> ImagePart:
    return ImagePart(SMALL, (tuple(range(first, first + 4)),), f"small {first}")


def tiny(first: int, sized: bool = True) -> ImagePart:
    frame = TWO.frame_of(0, 1)
    return ImagePart(frame, (tuple(range(first, first + 2)), tuple(range(first, first + 8))), f"tiny {first}", sized)


def base(first: int) -> ImagePart:
    codes = tuple((first + i) % 32 for i in range(81)), tuple((first + 5 * i) % 96 for i in range(256))
    return ImagePart(BASE, codes, f"base {first}")


def deep(first: int) -> ImagePart:
    return ImagePart(ImageFrame(((2, 2), (2, 2))), (tuple(range(first, first + 4)),) * 2, f"deep {first}")


ODD = "{} {prompt} <|im_end|> </s> <user> <start_of_image> <slot> \u0000\u202e 👩‍👩‍👧 e\u0301 日本\n"
LOOK = prompts.chat([("user", "Draw {it}"), ("assistant", ["Here: ", small(8), " It is red."]), ("user", "Sure?")])
AGAIN = [*prompts.draw("a circle", small(4)), *prompts.chat([("user", "Make it blue"), ("assistant", [small(40)])])]
MANY = prompts.chat([("user", [small(1), " or ", small(2), "?"]), ("assistant", ["So ", small(3), small(4), " both."])])
TURNS = prompts.chat(
    [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", ODD), ("assistant", ODD)]
)

# name -> (messages, layout, template, keywords of render)
Case = tuple[list[Message], VocabLayout, ChatTemplate, dict[str, Any]]
CASES: dict[str, Case] = {
    "text only": (prompts.text("A red circle."), ONE, PLAIN, {}),
    "many turns, odd text": (TURNS, ONE, PLAIN, {}),
    "many turns, chatml": (TURNS, ONE, replace(CHATML, default_system="Help."), {}),
    "default system, chatml": (TURNS[1:3], ONE, replace(CHATML, default_system="Help."), {}),
    "vicuna": (prompts.caption(small(1), "A circle."), ONE, VICUNA, {}),
    "caption": (prompts.caption(small(1), "A circle."), ONE, PLAIN, {}),
    "caption, prompt": (prompts.caption(small(1)), ONE, PLAIN, {"prompt": True}),
    "ask": (prompts.ask(small(1), "How many {circles}?", "two"), ONE, PLAIN, {}),
    "draw": (prompts.draw("a {red} circle", small(1)), ONE, PLAIN, {}),
    "draw, prompt": (prompts.draw("a {red} circle"), ONE, PLAIN, {"prompt": True}),
    "draw, dropped": (prompts.dropped(prompts.draw("a {red} circle", small(1)), training=True), ONE, PLAIN, {}),
    "draw, dropped prompt": (prompts.dropped(prompts.draw("a {red} circle")), ONE, PLAIN, {"prompt": True}),
    "reconstruct": (prompts.reconstruct(small(1), small(1)), ONE, PLAIN, {}),
    "edit": (prompts.edit(small(1), "make it blue", small(7)), ONE, PLAIN, {}),
    "edit, dropped": (prompts.dropped(prompts.edit(small(1), "make it blue", small(7)), True), ONE, PLAIN, {}),
    "edit, dropped prompt": (prompts.dropped(prompts.edit(small(1), "make it blue")), ONE, PLAIN, {"prompt": True}),
    "assess": (prompts.assess(small(1), "two red circles", VERDICT), ONE, PLAIN, {}),
    "correct": (prompts.correct(small(1), "two red circles", VERDICT, small(9)), ONE, PLAIN, {}),
    "correct, dropped": (prompts.dropped(prompts.correct(small(1), "x", VERDICT, small(9)), True), ONE, PLAIN, {}),
    "draw, then look again": (LOOK, ONE, PLAIN, {"prompt": True}),
    "draw, then edit": (AGAIN, ONE, PLAIN, {}),
    "draw, then edit, dropped": (prompts.dropped(AGAIN, training=True), ONE, PLAIN, {}),
    "draw, then edit, not read again": (AGAIN, replace(ONE, reread=False), PLAIN, {}),
    "draw, then edit, read as codes": (AGAIN, ONE, PLAIN, {"reading": "codes"}),
    "many images in a turn": (MANY, ONE, PLAIN, {}),
    "many images in a turn, read as codes": (MANY, ONE, PLAIN, {"reading": "codes"}),
    "sized": (prompts.draw("a circle", tiny(3), SizePart(0, 1)), TWO, PLAIN, {}),
    "sized, dropped": (prompts.dropped(prompts.draw("a circle", tiny(3), SizePart(0, 1)), True), TWO, PLAIN, {}),
    "two levels, bare": (prompts.edit(tiny(1), "x", tiny(2)), replace(TWO, level_markers=False), PLAIN, {}),
    "9x9 and 16x16, draw": (prompts.draw("a circle", base(3)), TWO, PLAIN, {}),
    "9x9 and 16x16, edit": (prompts.edit(base(1), "make it blue", base(2)), TWO, PLAIN, {}),
    "9x9 and 16x16, look again": ([*prompts.draw("a circle", base(4)), *LOOK[2:]], TWO, PLAIN, {"prompt": True}),
    "two codes a feature, edit": (prompts.edit(deep(1), "make it blue", deep(2)), DEEP, PLAIN, {}),
    "two codes a feature, look again": ([*prompts.draw("a circle", deep(4)), *LOOK[2:]], DEEP, PLAIN, {"prompt": True}),
    "two codes a feature, read as codes": (prompts.edit(deep(1), "x", deep(2)), DEEP, PLAIN, {"reading": "codes"}),
}


def rendered(case: Case) -> Rendered:
    messages, layout, template, keywords = case
    return render(messages, layout, text_format(template), **keywords)


def entry(case: Case) -> dict[str, Any]:
    result = rendered(case)
    return {
        "words": " ".join(piece.words for piece in pieces(result, case[1], text_format(case[2]))),
        "ids": " ".join(map(str, result.ids)),
        "loss": "".join("x" if loss else "." for loss in result.loss_mask),
        "slots": [[run.start, run.level, *run.grid, run.image] for run in result.slots],
        "places": " ".join("." if place is None else "{}:{},{}".format(*place) for place in result.places),
    }


def markers(layout: VocabLayout) -> dict[str, list[int]]:
    return {name: [ids.start, ids.stop] for name, ids in layout.ranges().items()}


def golden() -> dict[str, Any]:
    layouts = {"one level": markers(ONE), "two levels": markers(TWO)}
    return {"format_version": 1, "layouts": layouts, "cases": {name: entry(case) for name, case in CASES.items()}}


@pytest.mark.parametrize("name", CASES)
def test_the_format_is_the_golden_one(name: str) -> None:
    assert entry(CASES[name]) == json.loads(GOLDEN.read_text("utf-8"))["cases"][name]


def test_the_golden_file_holds_these_cases_and_layouts() -> None:
    stored = json.loads(GOLDEN.read_text("utf-8"))
    assert list(stored["cases"]) == list(CASES)
    assert stored["layouts"] == golden()["layouts"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case[3].get("prompt")])
def test_golden_sequences_parse(name: str) -> None:
    messages, layout, template, _ = CASES[name]
    result = rendered(CASES[name])
    parsed = parse(result.ids, layout, text_format(template), result.slots)
    assert [m.role for m in parsed] == [m.role for m in messages]
    assert [p for m in parsed for p in m.parts if isinstance(p, TextPart)] == [
        p for m in messages for p in m.parts if isinstance(p, TextPart)
    ]


def test_loss_is_on_what_an_assistant_says_draws_and_ends_with() -> None:
    result = rendered(CASES["many images in a turn"])
    spelt = pieces(result, ONE, text_format())
    assert [p.words for p in spelt if p.loss] == [
        *("So ", "<start_of_image>", "[level0: 3 4 5 6]", "<end_of_image>"),
        *("<start_of_image>", "[level0: 4 5 6 7]", "<end_of_image>", " both.", "<end>"),
    ]
    assert not any(render([replace(m, target=False) if m.role == "assistant" else m for m in MANY], *_one()).loss_mask)


def test_an_image_is_read_again_only_where_something_follows() -> None:
    last = render(prompts.draw("x", small(1)), *_one())
    assert not last.slots
    follower = Message("user", ())
    for messages, prompt in (([*prompts.draw("x", small(1)), follower], False), (LOOK, True)):
        assert [run.level for run in render(messages, *_one(), prompt=prompt).slots] == [0]
    trailing = Message("assistant", (small(1), TextPart("")))
    assert not render([trailing], *_one()).slots


def test_an_input_carries_the_place_of_the_code_it_predicts_and_a_slot_its_own() -> None:
    result = rendered(CASES["draw, then edit"])
    start = result.ids.index(ONE.marker("start_of_image"))
    own = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    assert list(result.places[start : start + 6]) == [*own, None, None]
    slot = result.slots[0].start
    assert list(result.places[slot - 1 : slot + 5]) == [None, *own, None]


def test_a_read_frame_alone_is_the_one_inside_a_conversation() -> None:
    result = rendered(CASES["draw, then look again"])
    alone = render_read(small(8), ONE)
    at = result.slots[0].start - alone.slots[0].start
    inside = slice(at, at + len(alone.ids))
    assert result.ids[inside] == alone.ids
    assert result.places[inside] == alone.places
    assert result.slots[0].image == alone.slots[0].image == "small 8"


def test_ids_do_not_depend_on_how_text_was_cut() -> None:
    cut = Message("user", (TextPart("a re"), TextPart(""), TextPart("d")))
    assert render([cut], *_one()) == render([Message("user", (TextPart("a red"),))], *_one())


def test_parts_of_a_generated_turn_parse_with_or_without_its_end() -> None:
    turn = [text_format().tokenizer.encode("so")[0], text_format().end]
    assert parse_parts(turn, *_one()) == parse_parts(turn[:1], *_one()) == [TextPart("s")]
    with pytest.raises(FormatError, match="position 2: expected nothing"):
        parse_parts([*turn, turn[0]], *_one())


def _one() -> tuple[VocabLayout, TextFormat]:
    return ONE, text_format()


NO_CODES = ImagePart(SMALL, image="bare")
WIDE = ImagePart(ImageFrame(((1, 4),)), ((1, 2, 3, 4),))


@pytest.mark.parametrize(
    ("messages", "keywords", "words"),
    [
        ([], {}, "no messages"),
        (prompts.text("x"), {"prompt": True}, "a prompt ends with"),
        (prompts.draw("x", NO_CODES), {}, "'bare' in a turn of the assistant is to be drawn"),
        (prompts.caption(NO_CODES, "x"), {"reading": "codes"}, "read by its codes"),
        (prompts.draw("x", WIDE), {}, "without row ends"),
        (prompts.draw("x", replace(small(1), sized=True)), {}, "no size tags"),
        (prompts.draw("x", size=SizePart(0, 0)), {}, "not among the 0 size tags"),
        (prompts.draw("x", ImagePart(SMALL, ((1, 2, 3, 512),))), {}, "no code 512"),
        ([Message("assistant", (SizePart(0, 0),))], {}, "names no size"),
        (prompts.draw("x", ImagePart(ImageFrame(((1, 1), (1, 1))), ((0,), (0,)))), {}, "2 levels in a layout of 1"),
        (prompts.draw("x \ud800"), {}, "surrogate"),
    ],
)
def test_render_refuses(messages: list[Message], keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        render(messages, *_one(), **keywords)


def test_levels_that_write_the_same_features_have_the_same_grid() -> None:
    uneven = ImagePart(ImageFrame(((2, 2), (1, 1))), ((1, 2, 3, 4), (1,)), "uneven")
    with pytest.raises(FormatError, match="same grid, unlike"):
        render(prompts.draw("x", uneven), DEEP, text_format())


def test_render_refuses_a_size_that_would_be_taken_for_the_images_own() -> None:
    messages = [Message("user", (SizePart(0, 1), tiny(1, sized=False)))]
    render(messages, TWO, text_format())
    with pytest.raises(FormatError, match="make the image `sized`"):
        render(messages, TWO, text_format(), "codes")


def test_sizes_of_tokenizer_and_layout_must_agree() -> None:
    with pytest.raises(FormatError, match="room for"):
        render(prompts.text("x"), replace(ONE, text_size=5), text_format())


def _cut(ids: list[int]) -> list[int]:
    return ids[:-1]


def _lose_a_code(ids: list[int]) -> list[int]:
    at = ids.index(ONE.code_id(0, 7))
    return ids[:at] + ids[at + 1 :]


def _forge(ids: list[int]) -> list[int]:
    return [*ids[:10], text_format().tokenizer.special("</s>"), *ids[10:]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_cut, "position 38: expected more of the turn or its end, found the end of the sequence"),
        (_lose_a_code, "position 32: 3 codes or slots in a level are no square"),
        (_forge, "position 10: expected more of the turn or its end, found special id 7"),
        (lambda ids: ids[1:], "position 0: expected the opening of a turn"),
        (lambda ids: [*ids[:2], ONE.size, *ids[2:]], "position 2: id 779 is outside the vocabulary"),
        (lambda ids: [*ids[:2], ONE.slot, *ids[2:]], "position 1: 5 codes or slots"),
    ],
)
def test_parse_says_where_and_what(spoil: Any, words: str) -> None:
    ids = list(render(prompts.edit(small(1), "make it", small(7)), *_one()).ids)
    with pytest.raises(FormatError, match=words):
        parse(spoil(ids), *_one())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1, ensure_ascii=True) + "\n", "utf-8")
