"""The methods of self-enhancement, each with the steps of its rounds, and what a person may ask of them; it runs none.

assessment is the paper's (ILLUME, section 3). reca: reconstruction alignment (Xie et al. 2025, arXiv 2509.07295). dpo:
direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290). grpo: group-relative
policy optimisation (Shao et al. 2024, arXiv 2402.03300).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from illume.core.config import override
from illume.core.errors import UsageError
from illume.enhance.compose import Composing
from illume.enhance.paint import Painting
from illume.enhance.pair import Pairing
from illume.enhance.redraw import Redrawing
from illume.enhance.round import FILES, Step
from illume.judge.protocol import FAILURES, FailureKind
from illume.recipes.retrain import Retraining
from illume.train.policy_objective import PolicyConfig
from illume.train.preference_objective import PreferenceConfig

Start = Literal["stage2", "model"]
Method = Literal["assessment", "reca", "dpo", "grpo"]
Only = Step | Literal["train"]
STEPS: tuple[Only, ...] = (*get_args(Step), "train")


@dataclass(frozen=True)
class Preferring:
    """How pairs are made, and learnt from."""

    pairs: Pairing = Pairing()
    dpo: PreferenceConfig = PreferenceConfig(likelihood=1.0)


@dataclass(frozen=True)
class Course:
    """A method: the steps of its rounds, how it trains where nothing is asked for, and which of `Settings` is its own,
    with what stands there."""

    steps: tuple[Only, ...]
    retraining: Retraining
    own: tuple[str, Any] | None = None
    alone: bool = False  # whether it may be all that is trained on

    @property
    def learns_from(self) -> str:
        """The file of a round that is trained on."""
        return next(FILES[step] for step in reversed(self.steps) if step != "train")

    def settled(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Its own settings, by their name in `Settings`, changed by KEY=VALUE. UsageError where it has none."""
        if self.own is None:
            if overrides:
                raise UsageError(f"--with {overrides[0]}: this method has no settings of its own")
            return {}
        name, settings = self.own
        return {name: override(settings, overrides)}


COURSES: Mapping[Method, Course] = {
    "assessment": Course(("propose", "paint", "assess", "compose", "train"), Retraining()),
    "reca": Course(("propose", "redraw", "train"), Retraining(share=0.25), ("redrawing", Redrawing())),
    "dpo": Course(
        ("propose", "paint", "assess", "pair", "train"),
        Retraining(share=0.2, rate=0.3),
        ("preferring", Preferring()),
        True,
    ),
    "grpo": Course(("propose", "train"), Retraining(share=0.5, rate=0.1), ("policy", PolicyConfig()), True),
}
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Settings:
    """What a person asks for. `prompts`: a file, or "world": the texts that the model learnt to draw from, with their
    pictures. `judge`: a judge's name; "self" is the model that drew, "oracle" its own world's; RecA needs none.
    `again`: failures of the judge that are asked again. `retraining`: None is the method's own. `seed` chooses
    the world's prompts, for every round otherwise; the noise of drawings is of `painting.seed`, and of the prompt."""

    prompts: str
    judge: str | None = None
    judge_settings: tuple[str, ...] = ()
    rounds: int = 1
    start: Start = "model"
    num_prompts: int | None = None
    painting: Painting = Painting()
    composing: Composing = Composing()
    retraining: Retraining | None = None
    device: str = "auto"
    seed: int = 0
    method: Method = "assessment"
    again: tuple[FailureKind, ...] = ()
    redrawing: Redrawing = Redrawing()
    preferring: Preferring = Preferring()
    policy: PolicyConfig = PolicyConfig()

    def __post_init__(self) -> None:
        if self.rounds < 1 or (self.num_prompts is not None and self.num_prompts < 1):
            raise ValueError(f"rounds ({self.rounds}) and num_prompts ({self.num_prompts}) are 1 or more")
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r}: there are {', '.join(METHODS)}")
        if self.start == "stage2" and self.method != "assessment":
            raise ValueError(f"{self.method} goes on with a finished model (--from model): stage2 is for assessment")
        if self.retraining is not None and self.retraining.share == 1 and not self.course.alone:
            raise ValueError(f"share (1) is a share of the samples, below 1: {self.method} keeps what the model can do")
        if unknown := sorted(set(self.again) - set(FAILURES)):
            raise ValueError(f"again {unknown[0]}: there are {', '.join(FAILURES)}")
        if self.judge is None and self.method != "reca":
            raise ValueError(f"{self.method} needs a judge: --judge oracle, self, api:MODEL or detector")
        if self.method == "reca" and (unheard := [*filter(None, [self.judge]), *self.judge_settings, *self.again]):
            raise ValueError(f"reca asks no judge: leave out {unheard[0]}")

    @property
    def course(self) -> Course:
        """What its method does."""
        return COURSES[self.method]
