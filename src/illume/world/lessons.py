"""The questions that training asks of a scene: more of what is learnt late, fewer of the rest; it knows no pictures."""

import random

from illume.world.asking import Question, ask, ask_each_by_name, questions
from illume.world.edits import references
from illume.world.scene import Scene, WorldConfig

_LEARNT_AT_ONCE = ("exists", "shape", "colour")
_WITHOUT_NAMES = ("exists", "count", "more", "size", "same")
_MOST = 12  # a picture with that many questions fits into a row of 272 ids


def lesson(scene: Scene, config: WorldConfig, rng: random.Random) -> list[Question]:
    """Questions to learn from, in random order and none twice; where sizes differ, at most twelve.

    With sizes, shapes and colours by the dozen, finding an object by its name is learnt late, and all that speaks of
    two objects waits for it (journal, 2026-11-23): there every object is asked for.
    """
    asked = questions(scene, config, rng)
    chosen = _names(asked, scene, config, rng) if config.sized else _places(asked, scene, config, rng)
    return chosen if chosen is asked else rng.sample(chosen, len(chosen))


def _places(asked: list[Question], scene: Scene, config: WorldConfig, rng: random.Random) -> list[Question]:
    """Where things stand in a relation, two of the kinds that are learnt at once make room for another relation and
    another place, which take many answers."""
    if not any(question.kind == "relation" for question in asked):
        return asked
    dropped = rng.sample([question for question in asked if question.kind in _LEARNT_AT_ONCE], 2)
    kept = [question for question in asked if question not in dropped]
    more = (ask(scene, config, rng, kind) for kind in ("relation", "where"))
    return kept + [question for question in more if question is not None and question not in kept]


def _names(asked: list[Question], scene: Scene, config: WorldConfig, rng: random.Random) -> list[Question]:
    """Two of the kinds that need no name make room for others: where every object is, and two in one question, which
    tells the first name from the second; a colour and a shape of what is named; another relation."""
    others = [question for question in asked if question.kind in _WITHOUT_NAMES]
    kept = [question for question in asked if question.kind not in (*_WITHOUT_NAMES, "where")]
    kept += ask_each_by_name(scene, config, rng, "where")
    for kind in ("colour", "shape"):
        named = ask_each_by_name(scene, config, rng, kind)
        kept += rng.sample(named, min(1, len(named)))
    more = (ask(scene, config, rng, "relation"), _where_both(scene, config, rng))
    kept += [question for question in more if question is not None]
    return list(dict.fromkeys([*kept, *rng.sample(others, min(2, len(others)))]))[:_MOST]


def _where_both(scene: Scene, config: WorldConfig, rng: random.Random) -> Question | None:
    named = [thing for thing in scene if references(thing, scene)]
    if len(named) < 2:
        return None
    both = rng.sample(named, 2)
    first, second = (rng.choice(references(thing, scene)) for thing in both)
    places = " and ".join(config.place(thing.cell) for thing in both)
    return Question("where", f"where is {first} and where is {second}?", places)
