"""The exact judge: reads pictures of the generated world and knows what its prompts mean; no model is asked."""

from collections.abc import Iterable, Iterator

import numpy as np

from illume.core.config import to_dict
from illume.core.errors import DataError
from illume.data.world_source import written
from illume.judge.protocol import Drawing, Failure, Identity, Judgement, Outcome
from illume.world import WorldConfig, oracle, understand


class OracleJudge:
    """Right by construction, for captions and pictures of one world; others are unfit."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.identity = Identity("oracle", {"world": to_dict(config)})

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        """In the order of the drawings."""
        return (Judgement(drawing, self._outcome(drawing)) for drawing in drawings)

    def _outcome(self, drawing: Drawing) -> Outcome:
        picture = np.asarray(drawing.picture())
        try:
            findings = oracle.check(picture, understand(drawing.prompt), self.config)
        except DataError as error:
            return Failure("unfit", str(error))
        return written(findings)
