"""The model's own assessment of drawings, many at once; it does not know whether the model drew them."""

from collections.abc import Iterable, Iterator
from itertools import islice

from illume.api import Illume
from illume.core.config import to_dict
from illume.core.errors import FormatError, RequestError
from illume.encode import weights_hash
from illume.generate.request import Request
from illume.judge.answers import Answer, outcome_of
from illume.judge.protocol import Drawing, Failure, Identity, Judgement, Outcome
from illume.session.folder import fingerprint


class SelfJudge:
    """Asks as `Illume.assess` does. What the model says that is no verdict is malformed."""

    def __init__(self, illume: Illume) -> None:
        self.illume = illume
        parts = illume.parts
        text = to_dict(parts.generation.text)
        weights = {"model": weights_hash(parts.model), **fingerprint(parts)}
        self.identity = Identity("self", {**weights, "reading": parts.reading, "sampling": text})

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        """In the order of the drawings, as many at a time as the model answers at once."""
        waiting = iter(drawings)
        while some := list(islice(waiting, max(1, self.illume.parts.generation.rows))):
            yield from map(Judgement, some, self._outcomes(some))

    def _outcomes(self, drawings: list[Drawing]) -> list[Outcome]:
        requests = [self.illume.assess_request(drawing.picture(), drawing.prompt) for drawing in drawings]
        try:
            return self._assessed(requests)
        except (RequestError, FormatError):  # one of them cannot be asked: then nothing was begun
            return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Outcome:
        try:
            return self._assessed([request])[0]
        except (RequestError, FormatError) as error:
            return Failure("unfit", str(error))

    def _assessed(self, requests: list[Request]) -> list[Outcome]:
        return [outcome_of(Answer(result.text)) for result in self.illume.run(requests)]
