"""What is said in each task, as messages; training, inference and judges all say it through these functions.

It does not know ids, pixels or records. Where an answer or a target is left out, the messages end with the user's turn
and wait for it. A user's words are joined to ours, never formatted into them: braces are only braces.
"""

from collections.abc import Sequence
from dataclasses import replace

from illume.core.errors import FormatError
from illume.tasks.verdict import Verdict
from illume.vocab.messages import ImagePart, Message, Part, Role, SizePart, TextPart

CAPTION = "Describe the image"
DRAW = "Generate an image of "
DRAW_SIZED = ", the content of the image is "
RANDOM = "Generate a random image"
RANDOM_SIZED = " of "
EDIT = "Edit the image: "
INPAINT = "Paint the masked region"
INPAINT_AS = ": "
RECONSTRUCT = "Reconstruct the image"
ASSESS = "Assess whether the image shows "
CORRECT = "Draw it again, correctly"
EXPLAIN = "Say what has to change"
ASSESSOR = """\
You are asked whether an image shows what a text says. Look first, then decide, by four criteria:
object: everything that the text names is there, and what it excludes is not.
counting: there are as many of each thing as the text says.
colour: each thing has the colour that the text gives it.
relation: things stand to each other as the text says (left of, right of, above, below, ...).
A criterion that the text asks nothing of is not applicable, and then has passed. overall is true exactly if every \
applicable criterion has passed. Style and beauty do not count.
Answer with one JSON object and nothing else. It has the keys object, counting, colour, relation, each of them \
{"applicable": true or false, "reason": "what is seen, in a few words", "passed": true or false}, and overall, true or \
false."""
"""What a model that was never trained to assess is told before it is asked as `assess` asks."""


def caption(image: ImagePart, text: str | None = None) -> list[Message]:
    """An image is described."""
    return _turns((image, TextPart(CAPTION)), _said(text))


def draw(prompt: str, image: ImagePart | None = None, size: SizePart | None = None) -> list[Message]:
    """An image is drawn from words, of a named size if one is given."""
    if size is None:
        return _turns((TextPart(DRAW + prompt),), image)
    return _turns((TextPart(DRAW), size, TextPart(DRAW_SIZED + prompt)), image)


def edit(source: ImagePart, instruction: str, target: ImagePart | None = None) -> list[Message]:
    """An image is changed as told."""
    return _turns((source, TextPart(EDIT + instruction)), target)


def inpaint(masked: ImagePart, instruction: str | None = None, target: ImagePart | None = None) -> list[Message]:
    """The masked region of an image is painted as told, or, where nothing is said, so that it fits what is around it.

    `masked` is the image with the region painted over in the marker's colour (images/masks.py). The dropped form is
    that of an edit: to reconstruct what is given, mask and all, so that guidance leads away from leaving it as it is.
    """
    said = INPAINT if instruction is None else INPAINT + INPAINT_AS + instruction
    return _turns((masked, TextPart(said)), target)


def reconstruct(source: ImagePart, target: ImagePart | None = None) -> list[Message]:
    """An image is read and drawn again as it is."""
    return _turns((source, TextPart(RECONSTRUCT)), target)


def ask(image: ImagePart, question: str, answer: str | None = None) -> list[Message]:
    """A question about an image is answered."""
    return _turns((image, TextPart(question)), _said(answer))


def assess(image: ImagePart, prompt: str, verdict: Verdict | None = None) -> list[Message]:
    """An image is judged against the prompt it should show; the answer is a verdict's JSON."""
    return _turns((image, TextPart(ASSESS + prompt)), None if verdict is None else TextPart(verdict.to_json()))


def correct(image: ImagePart, prompt: str, verdict: Verdict, target: ImagePart | None = None) -> list[Message]:
    """A judged image is drawn again as it should have been (ILLUME, section 3: assessment, then correction)."""
    return [*assess(image, prompt, verdict), *_turns((TextPart(CORRECT),), target)]


def correct_in_words(image: ImagePart, prompt: str, verdict: Verdict) -> list[Message]:
    """A judged image is corrected in words: what failed, and what it should show."""
    return [*assess(image, prompt, verdict), *_turns((TextPart(EXPLAIN),), TextPart(correction(prompt, verdict)))]


def correction(prompt: str, verdict: Verdict) -> str:
    """What a correction in words says."""
    failed = [name for name, one in verdict.criteria.items() if one.applicable and not one.passed]
    wrong = "; ".join(f"{name}: {verdict.criteria[name].reason}" for name in failed)
    return f"Wrong: {wrong}. It should show: {prompt}"


def chat(turns: Sequence[tuple[Role, str | Sequence[str | Part]]]) -> list[Message]:
    """A conversation as it stands: (role, content), content being a text or a sequence of texts and parts."""
    return [Message(role, _parts(content)) for role, content in turns]


def text(text: str) -> list[Message]:
    """Plain text, learnt as one turn that answers nobody."""
    return [Message("assistant", (TextPart(text),))]


def dropped(messages: Sequence[Message], training: bool = False) -> list[Message]:
    """The unconditional form for guidance: the last instruction that leads to a drawn image says nothing particular.

    An instruction that brings one image of its own (an edit, an inpainting) becomes the one to reconstruct it; any
    other the one to draw a random image, of the same size if a size was named. All else stays as it was. On a prompt,
    which ends with the user's turn, that turn is the instruction; on a full sample, the turn before the last drawn
    image. With `training` the target of a dropped edit becomes its source, whose codes are needed for it (ILLUME+'s
    rule).

    FormatError if no image is drawn, or the source has no codes to be drawn from.
    """
    where = _last_instruction(messages)
    instruction = messages[where]
    images = [part for part in instruction.parts if isinstance(part, ImagePart)]
    result = list(messages)
    result[where] = replace(instruction, parts=_unconditional(instruction.parts))
    if training and len(images) == 1 and where + 1 < len(messages):
        result[where + 1] = _drawing_instead(messages[where + 1], images[0])
    return result


def _last_instruction(messages: Sequence[Message]) -> int:
    if messages and messages[-1].role == "user":
        return len(messages) - 1
    for where in range(len(messages) - 1, 0, -1):
        if messages[where - 1].role == "user" and any(map(_is_drawn, messages[where].parts)):
            return where - 1
    raise FormatError("no instruction leads to a drawn image here, so there is none to drop")


def _is_drawn(part: Part) -> bool:
    return isinstance(part, ImagePart) and part.codes is not None


def _unconditional(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    images = [part for part in parts if isinstance(part, ImagePart)]
    sizes = [part for part in parts if isinstance(part, SizePart)]
    if len(images) == 1:
        return (*images, TextPart(RECONSTRUCT))
    if sizes:
        return (*images, TextPart(RANDOM + RANDOM_SIZED), sizes[-1])
    return (*images, TextPart(RANDOM))


def _drawing_instead(message: Message, source: ImagePart) -> Message:
    if source.codes is None:
        raise FormatError(f"the source {source.image!r} of a dropped edit needs its codes: it becomes the target")
    return replace(message, parts=tuple(_redrawn(part, source) for part in message.parts))


def _redrawn(part: Part, source: ImagePart) -> Part:
    if not isinstance(part, ImagePart) or part.codes is None:
        return part
    return replace(source, sized=part.sized)


def _turns(instruction: tuple[Part, ...], answer: Part | None) -> list[Message]:
    asked = Message("user", instruction)
    return [asked] if answer is None else [asked, Message("assistant", (answer,))]


def _said(text: str | None) -> TextPart | None:
    return None if text is None else TextPart(text)


def _parts(content: str | Sequence[str | Part]) -> tuple[Part, ...]:
    pieces = [content] if isinstance(content, str) else content
    return tuple(TextPart(piece) if isinstance(piece, str) else piece for piece in pieces)
