"""The judges by the names a person types: KIND or KIND:NAME, settled further by KEY=VALUE, as recipes are.

oracle:WORLD (pico, nano) · self:MODEL · api:MODEL · detector:MODEL. It does not know how any of them judges.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from illume.core.config import from_dict, override
from illume.core.errors import UsageError
from illume.judge.api import ApiJudge
from illume.judge.api_config import ApiConfig
from illume.judge.geneval import Rules
from illume.judge.oracle import OracleJudge
from illume.judge.protocol import FailureKind, Judge
from illume.world import NANO, PICO

if TYPE_CHECKING:
    from illume.api import Illume

WORLDS = {"pico": PICO, "nano": NANO}
LoadModel = Callable[[str, str], "Illume"]  # (name, device)


@dataclass(frozen=True)
class OracleConfig:
    """The world whose pictures and prompts are judged."""

    world: Literal["pico", "nano"] = "pico"


@dataclass(frozen=True)
class SelfConfig:
    """The model that judges: a folder, a run's folder, or a name on the hub."""

    model: str
    device: str = "auto"


@dataclass(frozen=True)
class DetectorConfig:
    """The models of GenEval's judge, by folder or hub name, and its rules; the defaults are nearest to GenEval's."""

    detector: str = "facebook/mask2former-swin-small-coco-instance"
    clip: str = "openai/clip-vit-large-patch14"
    device: str = "auto"
    rules: Rules = Rules()


@dataclass(frozen=True)
class Setting:
    """What every judge is made with: where the answers that cost something are kept, what to ask again, how to load."""

    answers: Path
    again: Collection[FailureKind]
    load: LoadModel


# Kind -> its configuration, the field that stands behind the colon, and how it is made.
KINDS: dict[str, tuple[type, str, Callable[[Any, Setting], Judge]]] = {
    "oracle": (OracleConfig, "world", lambda config, _: OracleJudge(WORLDS[config.world])),
    "self": (SelfConfig, "model", lambda config, setting: _self_judge(config, setting)),
    "api": (ApiConfig, "model", lambda config, setting: ApiJudge(config, setting.answers, setting.again)),
    "detector": (DetectorConfig, "detector", lambda config, _: _detector_judge(config)),
}


def make_judge(name: str, overrides: Sequence[str], setting: Setting) -> Judge:
    """The judge of a name, with settings as KEY=VALUE. UsageError where there is none such."""
    kind, _, rest = name.partition(":")
    if kind not in KINDS:
        raise UsageError(
            f"{name!r} is neither a file of verdicts nor a judge; there are {', '.join(KINDS)}, each maybe with a :NAME"
        )
    config, field, make = KINDS[kind]
    if kind in ("self", "api") and not rest:
        raise UsageError(f"{kind}: say which model, such as {kind}:{'gpt-4o' if kind == 'api' else 'runs/demo'}")
    settled: Any = override(from_dict(config, {field: rest} if rest else {}, where=name), overrides)
    return make(settled, setting)


def _self_judge(config: SelfConfig, setting: Setting) -> Judge:
    from illume.judge.own import SelfJudge  # where it is wanted: models take long to import

    return SelfJudge(setting.load(config.model, config.device))


def _detector_judge(config: DetectorConfig) -> Judge:
    from illume.core.device import pick_device
    from illume.judge.detector import DetectorJudge
    from illume.models.detectors import load_detector, load_matcher

    device = pick_device(config.device)
    return DetectorJudge(load_detector(config.detector, device), load_matcher(config.clip, device), config.rules)
