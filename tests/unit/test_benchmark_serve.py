"""The benchmarks of the server: their figures by hand, their judges of answers, and each part once in small."""

import asyncio
import base64
import io
import json
import os
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.serve import clients, peer
from benchmarks.serve.__main__ import told
from benchmarks.serve.cells import STREAMED, WHOLE, Book, Cell, cell_of, goals, key_of, percentile, ratios
from benchmarks.serve.servers import served
from benchmarks.shapes import GUIDANCE, Shape, ours, peer_codes, peer_prompts
from benchmarks.shapes import peer as janus
from benchmarks.soak import __main__ as soaking
from benchmarks.soak import asking, watching
from benchmarks.soak.asking import Ask, bad_requests, problem_of
from benchmarks.soak.people import Tally
from PIL import Image

SHAPE = Shape(layers=1, width=32, heads=2, hidden=32, side=4, codes=16)
ERROR = json.dumps({"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "x"}})
DRAW = Ask("draw", "/", {}, whole="total_tokens")
STREAM = Ask("draw", "/", {}, streams=True, whole="completed")
BAD = Ask("bad", "/", {}, expected=(400,))


def cell(rate: float, p95: float = 1.0, failed: int = 0) -> Cell:
    return Cell(10, failed, 10 / rate, rate, p95 / 2, p95, p95, p95)


def cells(own: float = 8.0, own_p95: float = 1.0, failed: int = 0) -> dict[tuple[str, int], Cell]:
    found = {
        (WHOLE, 16): cell(own),
        (STREAMED, 16): cell(own / 2),
        ("serial", 16): cell(1.0),
        ("batching", 16): cell(3.0),
    }
    alone = {
        (STREAMED, 1): cell(1, own_p95, failed),
        (WHOLE, 1): cell(1),
        ("serial", 1): cell(1, 1.0),
        ("batching", 1): cell(1, 1.5),
    }
    return found | alone


# Figures


def test_percentiles_lie_between_the_nearest_values() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([10, 20, 30], 0.95) == pytest.approx(29)
    assert percentile([7], 0.95) == 7
    assert percentile([], 0.5) != percentile([], 0.5)


def test_a_cell_sums_rounds_and_leaves_failures_out_of_latencies() -> None:
    good = {"latency": 2.0, "first": 1.0, "error": None}
    bad = {"latency": 60.0, "first": None, "error": "TimeoutError"}
    rounds = [{"seconds": 2.0, "requests": [good, good]}, {"seconds": 3.0, "requests": [good | {"latency": 4.0}, bad]}]
    found = cell_of(rounds)
    assert (found.images, found.failed, found.seconds, found.images_per_second) == (3, 1, 5.0, 0.6)
    assert (found.p50, found.p95, found.first_p50) == (2.0, pytest.approx(3.8), 1.0)


def test_ratios_and_goals() -> None:
    assert ratios(cells(), WHOLE, 16) == {"serial": 8.0, "batching": pytest.approx(8 / 3)}
    assert all(met for _, _, met in goals(cells()).values())
    for worse in (cells(own=7.9), cells(own=7.4), cells(own_p95=1.01), cells(failed=1)):
        assert not all(met for _, _, met in goals(worse).values())


def test_a_part_of_a_measurement_meets_no_goals() -> None:
    book = Book(None, {})
    book.cells.update(cells())
    assert told(book, [1, 16], smoke=False)["goals_met"]
    assert not told(book, [1, 16], smoke=True)["goals_met"]
    assert not told(book, [16], smoke=False)["goals_met"]


def test_a_killed_run_goes_on_with_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "results" / "a.json"
    Book(path, {"shape": "small"}).write("serial", 4, cell(2.0))
    again = Book(path, {"shape": "small"})
    assert again.cells == {("serial", 4): cell(2.0)}
    again.write("serial", 16, cell(3.0))
    assert set(Book(path, {}).cells) == {("serial", 4), ("serial", 16)}


def test_other_settings_are_another_measurement() -> None:
    assert key_of({"dtype": "fp32"}) != key_of({"dtype": "bf16"})
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


def test_growth_is_from_after_the_warm_up_to_the_end() -> None:
    assert watching.growth([10, 50, 100, 100, 100, 100, 100, 100, 107, 109]) == 8
    assert watching.growth([0, 0, *[100] * 8]) == 0  # warming up is no growth
    assert watching.tenths([1, 3, 5]) == [1, 3, 5]
    assert watching.tenths(list(range(20))) == [i + 0.5 for i in range(0, 20, 2)]


def test_metrics_and_logs_are_read() -> None:
    text = '# HELP x\nillume_running 0.0\nillume_requests_total{endpoint="/",status="200"} 3.0\n'
    assert watching.metrics_of(text)["illume_running"] == 0
    assert watching.metrics_of(text)['illume_requests_total{endpoint="/",status="200"}'] == 3
    fine = '{"level": "info", "event": "request"}\n{"level": "warning"}\nplain'
    assert watching.log_problems(fine) == []
    assert len(watching.log_problems(f'{{"level": "error"}}\nTraceback (most\n{{"prompt": "{asking.SECRET}"}}')) == 3


# What becomes of a request


def test_whole_answers_and_refusals_are_fine() -> None:
    assert problem_of(DRAW, 200, '{"total_tokens": 3}') is None
    assert problem_of(STREAM, 200, "event: completed\ndata: {}\n\n") is None
    assert problem_of(BAD, 400, ERROR) is None
    assert problem_of(DRAW, 429, ERROR) is None
    assert problem_of(DRAW, 503, ERROR) is None


@pytest.mark.parametrize(
    ("ask", "status", "text"),
    [
        (DRAW, 500, ERROR),
        (BAD, 500, ERROR),
        (BAD, 200, "{}"),
        (BAD, 400, '{"detail": "no"}'),
        (BAD, 400, "no JSON"),
        (DRAW, 400, ERROR),
        (DRAW, 429, "slow down"),
        (DRAW, 200, "{}"),
        (STREAM, 200, "event: partial\n\n"),
        (STREAM, 200, f"data: {ERROR}\n\n"),
    ],
)
def test_problem_of_catches_what_is_neither(ask: Ask, status: int, text: str) -> None:
    assert problem_of(ask, status, text)


def test_requests_are_as_their_chance_says() -> None:
    for make in (*(make for make, _ in asking.GOOD), *bad_requests(1000)):
        assert make(random.Random(3)) == make(random.Random(3))
    kinds = [make(random.Random(0)).kind for make in bad_requests(1000)]
    assert len(set(kinds)) == len(kinds) >= 35


def test_a_tally_counts_by_outcome() -> None:
    tally = Tally()
    tally.note("draw", "answered")
    tally.note("draw", "answered", "it was blank")
    assert (tally.total(), tally.total("answered"), tally.total("problem")) == (2, 1, 1)
    assert tally.problems == ["draw: it was blank"]


@pytest.mark.parametrize(("problems", "status"), [([], 0), (["a row is still busy"], 1)])
def test_a_soak_ends_as_it_went(
    problems: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"tally": Tally(), "problems": problems, "growth_mb": 0.0, "peak_mb": 0.0, "memory_mb": []}
    monkeypatch.setattr(soaking, "served", lambda *_: nullcontext())
    monkeypatch.setattr(soaking, "soak", lambda *_: found)
    assert soaking.main(["model"]) == status
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["goals_met"] == (not problems)


def test_a_soak_asks_for_words_and_pictures_in_every_way() -> None:
    asked = [asking.chatting(random.Random(seed)).options["json"]["modalities"] for seed in range(60)]
    assert {tuple(one) for one in asked} == {("text",), ("image",), ("image", "text")}


# The parts, in small


@pytest.fixture(scope="module")
def model() -> Any:
    return janus(SHAPE)


def test_both_models_are_of_one_shape(model: Any) -> None:
    own = ours(SHAPE)
    sizes = [
        sum(p.numel() for p in layers.parameters() if p.ndim > 1)
        for layers in (own.parts.model.decoder, model.model.language_model.layers)
    ]
    assert sizes[0] == sizes[1]
    assert own.draw("a red circle")[0].size == (SHAPE.pixels, SHAPE.pixels)
    assert own.draw_request("a red circle").guidance == GUIDANCE
    codes = peer_codes(model, ["a red circle", "a cross"])
    assert codes.shape == (2, SHAPE.image_ids)
    assert codes.max() < SHAPE.codes


def test_the_peers_prompts_are_padded_on_the_left() -> None:
    given = peer_prompts(["ab", "a"])
    assert given["input_ids"][1, 0] == 0
    assert given["attention_mask"].tolist() == [[1] * 4, [0, 1, 1, 1]]


def test_the_peers_pictures_are_pictures(model: Any) -> None:
    with torch.random.fork_rng():
        first, second = peer.drawer(model)(["a red circle", "a cross"])
    for text in (first, second):
        assert Image.open(io.BytesIO(base64.b64decode(text))).size == (SHAPE.pixels, SHAPE.pixels)


@pytest.mark.parametrize(("window", "expected"), [(-1.0, [1, 1, 1]), (0.05, [3])])
def test_what_arrives_in_the_window_is_drawn_together(window: float, expected: list[int]) -> None:
    batches = []

    def draw(prompts: list[str]) -> list[str]:
        batches.append(len(prompts))
        return [prompt.upper() for prompt in prompts]

    async def asked() -> list[str]:
        batcher = peer.Batcher(draw, window)
        working = asyncio.ensure_future(batcher.work())
        found = await asyncio.gather(*(batcher.picture(prompt) for prompt in "abc"))
        working.cancel()
        return found

    assert asyncio.run(asked()) == ["A", "B", "C"]
    assert batches == expected


FAKE = """
import sys, json, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self): self.say(b"ok")
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        names = ("partial_image", "completed") if "fine" in sys.argv else ("partial_image",)
        events = "".join(f"event: image_generation.{name}\\ndata: {{}}\\n\\n" for name in names)
        self.say((events if body.get("stream") else json.dumps({"data": [{"b64_json": "eA=="}]})).encode())
    def say(self, data):
        self.send_response(200); self.send_header("content-length", str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def test_clients_ask_in_a_closed_loop_and_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "server.py"
    script.write_text(FAKE)
    with served([str(script), "fine"], tmp_path / "log") as server:
        for partials in ("0", "3"):
            clients.main([server.url, "--clients", "2", "--requests", "3", "--partials", partials])
            found = cell_of([json.loads(capsys.readouterr().out)])
            assert (found.images, found.failed) == (6, 0)
            assert 0 < found.first_p50 <= found.p95
    with served([str(script), "broken"], tmp_path / "log") as server:
        clients.main([server.url, "--partials", "3"])
        assert cell_of([json.loads(capsys.readouterr().out)]).failed == 1


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("raise SystemExit('no such model')")
    with pytest.raises(RuntimeError, match="no such model"), served([str(script)], tmp_path / "log"):
        pass


def test_a_process_is_watched_from_outside() -> None:
    assert watching.resident_mb(os.getpid()) > 50
    assert watching.open_files(os.getpid()) >= 3
