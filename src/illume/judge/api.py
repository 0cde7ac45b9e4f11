"""The judge behind an API: GPT-4o as in the paper (ILLUME, section 3), or any vision model behind the like endpoint.

The first question goes alone: it finds out whether there is anybody, who lets us in, and how they like to be asked.
The rest go together, as many as are allowed. Every answer is on the disk before it counts. It does not know HTTP.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from illume.core.errors import JudgeError
from illume.judge.answers import Answers, question_of, read_bill
from illume.judge.api_config import ApiConfig
from illume.judge.background import iterate
from illume.judge.budget import TYPICAL_VERDICT, Estimate, Ledger, Usage, expected_usage
from illume.judge.endpoint import Endpoint, FormRefusedError, NoAnswerError, NotTakenError
from illume.judge.protocol import Drawing, Failure, FailureKind, Identity, Judgement, Outcome
from illume.tasks import prompts

Emit = Callable[[Judgement], None]


class ApiJudge:
    """Asks an endpoint; `answers` is the file that keeps what it said, and so what was spent.

    ConfigError where the key is missing. While judging, JudgeError for an endpoint that is not there, does not let us
    in or is never heard, and for a limit that is reached: what was answered is kept, and the next run goes on there.
    Kept failures of the kinds `again` are asked, and paid, anew.
    """

    def __init__(self, config: ApiConfig, answers: Path, again: Collection[FailureKind] = ()) -> None:
        self.config = config
        self.answers = answers
        self.again = again
        self._key = config.key()

    @property
    def identity(self) -> Identity:
        return self.config.identity

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        """Judgements as they come in. Nothing is asked before the first is wanted.

        Closed before the end, it asks no more, and waits a little for what is under way: that is paid for.
        """
        with Answers(self.answers, self.identity, self.again) as answers:
            questioning = _Questioning(self.config, self._key, answers)

            def produce(emit: Emit) -> Awaitable[None]:
                return questioning.run(iter(drawings), emit)

            yield from iterate(produce, questioning.stopping.set, self.config.patience)

    def estimate(self, drawings: Sequence[Drawing]) -> Estimate:
        """What these drawings will cost; asks nobody."""
        bill = read_bill(self.answers, self.identity, self.again)
        new = {d.content: d for d in drawings if question_of(self.identity, d) not in bill.known}
        most = sum((_expected(self.config, drawing) for drawing in new.values()), Usage())
        expected = Usage(len(new), most.input, min(TYPICAL_VERDICT, self.config.max_answer_tokens) * len(new))
        measured = bill.own.requests > 0
        if measured:
            share = len(new) / bill.own.requests
            expected = Usage(len(new), round(bill.own.input * share), round(bill.own.output * share))
        most = most.at_least(expected)
        return Estimate(len(drawings) - len(new), expected, most, self.config.prices, measured)


class _Questioning:
    """One pass over drawings: whom to ask next, when, and when to stop."""

    def __init__(self, config: ApiConfig, key: str | None, answers: Answers) -> None:
        self.config = config
        self.answers = answers
        self.asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.ledger = Ledger(config.limits, config.prices, answers.bill.spent, answers.bill.largest)
        self.endpoint = Endpoint(config, key, answers.proven)
        self.settled = asyncio.Event()  # something that was under way has ended
        self.stopping = asyncio.Event()
        self.error: BaseException | None = None
        self.quiet_until = 0.0  # the server wants to be left alone until then
        self.reached = False
        self.given_up = 0  # questions in a row that brought nothing

    async def run(self, drawings: Iterator[Drawing], emit: Emit) -> None:
        """Everything, each outcome emitted. Raises what stopped it, once what was under way has ended."""
        async with self.endpoint:
            await self._work(drawings, emit, 1)
            if self.error is None:
                await asyncio.gather(*(self._work(drawings, emit) for _ in range(self.config.concurrency)))
        if self.error is not None:
            raise self.error

    async def _work(self, drawings: Iterator[Drawing], emit: Emit, most: int | None = None) -> None:
        """Ask one drawing after the other, `most` of those that nobody has asked yet."""
        asked = 0
        try:
            while asked != most and not self.stopping.is_set():
                drawing = next(drawings, None)
                if drawing is None:
                    return
                question = question_of(self.config.identity, drawing)
                async with self.asking[question]:  # of two drawings alike the second waits for what the first is told
                    known = self.answers.bill.known.get(question)
                    outcome = known or await self._ask(question, drawing)
                if outcome is None:
                    return
                emit(Judgement(drawing, outcome))
                asked += known is None
        except Exception as error:  # the others are let finish what they have begun: it is paid for
            self.error = self.error or error
            self.stopping.set()

    async def _ask(self, question: str, drawing: Drawing) -> Outcome | None:
        """The outcome of a question, asked as often as need be; None if the round stops before there is one."""
        expected = _expected(self.config, drawing)
        attempt, reason = 0, ""
        while attempt < self.config.attempts:
            if not await self._allowed(expected):
                return None
            try:
                return await self._attempt(question, drawing, expected)
            except FormRefusedError as error:
                self.answers.tried(question, drawing, str(error))
            except NotTakenError as error:
                self.answers.tried(question, drawing, str(error))
                return self._give_up(drawing, Failure("refused" if error.refused else "unfit", str(error)))
            except NoAnswerError as error:
                attempt, reason = attempt + 1, str(error)
                await self._rest(error, attempt)
        reason = f"no answer after {self.config.attempts} attempts; the last: {reason}"
        return self._give_up(drawing, Failure("unavailable", reason))

    async def _attempt(self, question: str, drawing: Drawing, expected: Usage) -> Outcome:
        """One request; what it took is settled whatever comes of it."""
        need = self.ledger.need(expected)
        took = Usage(1)
        self.ledger.reserve(need)
        try:
            reply = await self.endpoint.ask(drawing)
            took = reply.took or expected
            self.reached, self.given_up = True, 0
            return self.answers.answered(question, drawing, reply.answer, took)
        except NoAnswerError as error:
            took = expected if error.billed else took
            self.answers.tried(question, drawing, str(error), took if error.billed else None)
            raise
        finally:
            self.ledger.settle(need, took)
            self.settled.set()

    async def _allowed(self, expected: Usage) -> bool:
        """Wait until the server may be asked and the budget has room; whether the round still goes on then."""
        loop = asyncio.get_running_loop()
        while not self.stopping.is_set():
            limit = self.ledger.exceeded(self.ledger.need(expected))
            if limit is None and self.quiet_until <= loop.time():
                return True
            if limit is None:
                await self._pause(self.quiet_until - loop.time())
            elif self.ledger.pending:
                self.settled.clear()
                await self.settled.wait()
            else:
                raise JudgeError(f"{self._sofar()} The next question would break {limit}; raise it to go on.")
        return False

    async def _rest(self, error: NoAnswerError, attempt: int) -> None:
        """Wait before the next attempt: as long as the server says, else twice as long each time, with jitter."""
        config = self.config
        if not error.connected and not self.reached:
            raise JudgeError(f"{config.url}: {error}. Is the server running, and the url right?")
        self.reached = self.reached or error.connected
        if error.wait is not None and error.wait > config.longest_wait:
            raise JudgeError(f"{self._sofar()} {config.url} wants to be left alone for {error.wait:.0f} s: {error}")
        loop = asyncio.get_running_loop()
        if error.wait is not None:
            self.quiet_until = max(self.quiet_until, loop.time() + error.wait)
        if attempt < config.attempts:
            longest = min(config.longest_wait, config.first_wait * 2 ** (attempt - 1))
            await self._pause(random.uniform(longest / 2, longest))

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless the round stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    def _give_up(self, drawing: Drawing, failure: Failure) -> Outcome:
        """A question that brought nothing. JudgeError where that is the way of all of them; a refusal is an answer."""
        self.given_up = 0 if failure.kind == "refused" else self.given_up + 1
        unheard = failure.kind == "unavailable" and not self.endpoint.proven
        if unheard or self.given_up >= self.config.stop_after:
            many = f"{self.given_up} questions in a row" if self.given_up > 1 else f"the drawing {drawing.key!r}"
            raise JudgeError(f"{self._sofar()} {self.config.url} gives no answer to {many}; {failure.reason}")
        return failure

    def _sofar(self) -> str:
        spent = self.ledger.spent
        return (
            f"{spent.requests} requests were made, {spent.input + spent.output:,} tokens spent; the answers are kept."
        )


def _expected(config: ApiConfig, drawing: Drawing) -> Usage:
    words = prompts.ASSESSOR + prompts.ASSESS + drawing.prompt
    return expected_usage(words, drawing.picture().size, config.detail, config.max_answer_tokens)
