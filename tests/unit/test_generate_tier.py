"""Tiers by name, and engines built in them."""

import copy
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

import illume
from fixtures.tiny_drawing import LARGE, ask, draw, edit, engine, tiny_model
from fixtures.tiny_model_folder import tiny_illume
from illume.core.errors import ModelError, UsageError
from illume.generate.forward import Forward, Head
from illume.generate.runner import Runner
from illume.generate.steps import Decode, Recorded
from illume.generate.tier import TIERS, Tier, pick_tier
from illume.models.decoder import DecoderConfig
from illume.models.lora import LoRAConfig, add_lora, lora_layers, merge_lora
from illume.models.quantized import W8A8Linear
from illume.models.unified import Unified, UnifiedConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VNNI = pytest.mark.skipif(not W8A8Linear.serves(), reason="this processor does not multiply 8-bit integers (VNNI)")
W8A8 = pytest.param("w8a8", marks=VNNI)


def test_every_name_is_a_tier_of_that_name() -> None:
    for name, tier in TIERS.items():
        assert tier.name == name
    assert TIERS["int8-compiled"] == Tier("int8", "compiled")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_auto_computes_as_the_model_was_loaded(dtype: torch.dtype) -> None:
    found = pick_tier("auto", CPU, dtype)
    assert found.dtype == dtype
    assert found.mode == "eager"


@pytest.mark.parametrize(
    ("name", "device", "said"),
    [
        ("int9", CPU, "near names: int8"),
        ("bf16-graph", CPU, "only a CUDA device records graphs, not cpu; use 'bf16'"),
        ("bf16-compiled", CUDA, "is for the CPU, not cuda; use 'bf16-graph'"),
        ("int8", CUDA, "no int8 products for cuda"),
    ],
)
def test_what_a_device_has_not_is_said(name: str, device: torch.device, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pick_tier(name, device, torch.float32)


def test_integers_are_multiplied_only_where_the_processor_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(W8A8Linear, "serves", staticmethod(lambda: False))
    with pytest.raises(UsageError, match=r"does not multiply 8-bit integers \(VNNI\); use 'int8'"):
        pick_tier("w8a8-compiled", CPU, torch.float32)
    with pytest.raises(ModelError, match="VNNI"):
        W8A8Linear(torch.ones(32, 32))


def test_strict_mode_has_no_tier() -> None:
    with pytest.raises(UsageError, match="strict mode is the model's own forward: it has no tier 'bf16'"):
        engine(strict=True, tier="bf16")


@pytest.mark.parametrize("tier", ["bf16", "int8", W8A8, "int4"])
def test_engines_of_every_tier_answer_all_kinds_of_requests(tier: str) -> None:
    requests = [draw(seed=1, guidance=2.0), edit(seed=2), ask(seed=3)]
    results = engine(rows=4, tier=tier).run(requests)
    grids = [part.frame.grids for result in results[:2] for part in result.parts if hasattr(part, "frame")]
    assert grids == [LARGE.grids, LARGE.grids]
    assert [result.ids for result in results] == [result.ids for result in engine(rows=4, tier=tier).run(requests)]


def test_quantised_tiers_refuse_widths_that_they_cannot_lay_out() -> None:
    shape = DecoderConfig(width=16, layers=1, heads=2, kv_heads=2, head_dim=8, hidden=32)
    model = tiny_model()
    config = UnifiedConfig(shape, model.config.text_rows, model.config.vision_rows, model.config.code_ranges)
    with pytest.raises(ModelError, match="int8 weights need inputs in multiples of 32"):
        engine(model=Unified(config, model.vision_encoder).requires_grad_(False), tier="int8")


def test_an_engine_leaves_the_model_as_it_was() -> None:
    before = {name: tensor.clone() for name, tensor in tiny_model().state_dict().items()}
    engine(rows=2, tier="int8").run([draw(seed=1)])
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny_model().state_dict().items())


def trained(model: Unified) -> Unified:
    """The model a step later."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def check_engine_follows_its_model(strict: bool = False) -> None:
    model = copy.deepcopy(tiny_model())
    requests = [draw(seed=1), draw(seed=2), ask(seed=1), edit(seed=2)]
    tested = engine(rows=4, model=model, strict=strict)
    before = tested.run(requests)
    trained(model)
    after, fresh = tested.run(requests), engine(rows=4, model=model, strict=strict).run(requests)
    assert [one.ids for one in after] == [one.ids for one in fresh]
    assert [one.ids for one in after] != [one.ids for one in before]


@pytest.mark.parametrize("strict", [False, True])
def test_an_engine_follows_a_model_that_is_trained_between_requests(strict: bool) -> None:
    check_engine_follows_its_model(strict)


def test_the_check_catches_an_engine_that_keeps_old_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("illume.generate.runner.Runner.follow", lambda self: False)
    with pytest.raises(AssertionError):
        check_engine_follows_its_model()


def test_the_check_catches_an_engine_that_remembers_what_old_weights_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    follow = Runner.follow

    def forgetful(runner: Runner) -> bool:  # the weights, but not that they are others
        follow(runner)
        return False

    monkeypatch.setattr(Runner, "follow", forgetful)
    with pytest.raises(AssertionError):
        check_engine_follows_its_model()


def test_lora_is_merged_into_the_engines_copy_alone() -> None:
    model = copy.deepcopy(tiny_model())
    add_lora(model.decoder, LoRAConfig(rank=2))
    for layer in lora_layers(model.decoder).values():
        torch.nn.init.normal_(layer.lora_B, std=0.2)
    found = engine(rows=4, model=model).run([draw(seed=1), edit(seed=2)])
    assert lora_layers(model.decoder)
    merge_lora(model.decoder)
    assert [one.ids for one in found] == [
        one.ids for one in engine(rows=4, model=model).run([draw(seed=1), edit(seed=2)])
    ]


# torch's compiler without its last stage: the traced function, run as it is; C++ would take half a minute. In a process
# of its own, for it cannot trace functions whose shapes are checked, as they are here.
COMPILED = """
import torch
from fixtures.tiny_drawing import ask, draw, edit, engine
compile_ = torch.compile
torch.compile = lambda step, **settings: compile_(step, backend="eager", **settings)
requests = [draw(seed=1, guidance=2.0), edit(seed=2), ask(seed=3)]
eager, compiled = engine(rows=4, tier="fp32"), engine(rows=4, tier="fp32-compiled")
assert [one.ids for one in compiled.run(requests)] == [one.ids for one in eager.run(requests)]
counts = torch._dynamo.utils.counters["stats"]["unique_graphs"]
assert counts <= 8, f"{counts} graphs: of 2, 4 rows by an id, and one by 8 or 16; 128 and 150 positions"
"""

PREPARED = """
def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]
drafting = engine(rows=4, tier="fp32-compiled", parallel=3)
kinds, before = [], graphs()
drafting.prepare(kinds.append)
made = graphs()
eager = engine(4, parallel=3, tier="fp32")
assert [one.ids for one in drafting.run(requests)] == [one.ids for one in eager.run(requests)]
assert graphs() == made, "an answer waited for a step to be compiled"
assert len(set(kinds)) == len(kinds) == made - before == 12, kinds  # 2, 4 rows by 1, 4 ids; one by 8, 16; 128, 150
"""
CARELESS = """
steps = drafting._runner.steps
steps._widths = (1,)
drafting.prepare(kinds.append)
steps._widths = (1, 4)
"""

BESIDE = """
one, other = (engine(rows=4, tier=f"bf16{mode}").run(requests) for mode in ("", "-compiled"))
assert [found.ids for found in one] == [found.ids for found in other]
"""
SHARING = """
from illume.generate import steps
steps._as_own_code = lambda decode: decode
"""


def run_traced(program: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_compiled_step_is_traced_whole_and_answers_as_eager() -> None:
    run_traced(COMPILED)


def test_what_was_prepared_is_not_compiled_later_and_drafts_are_read_by_it() -> None:
    run_traced(COMPILED + PREPARED)
    with pytest.raises(AssertionError, match="waited for a step"):
        run_traced(COMPILED + PREPARED.replace("drafting.prepare(kinds.append)\n", CARELESS))


def test_neither_engines_nor_kinds_of_steps_share_what_was_compiled() -> None:
    run_traced(COMPILED + BESIDE)
    with pytest.raises(AssertionError, match="RuntimeError"):
        run_traced(SHARING + COMPILED.replace("counts <= 8", "True") + BESIDE)


def test_eager_tiers_have_nothing_to_prepare() -> None:
    kinds: list[str] = []
    engine(rows=4, tier="int8").prepare(kinds.append)
    engine(rows=4, strict=True).prepare(kinds.append)
    assert kinds == []


@pytest.mark.cuda
def test_recorded_steps_answer_as_eager_ones() -> None:
    if not torch.cuda.is_available():
        pytest.skip("recording a CUDA graph needs a CUDA device: none here")
    model = copy.deepcopy(tiny_model()).cuda()
    requests = [draw(seed=1, guidance=2.0), edit(seed=2), ask(seed=3)]
    recorded = engine(rows=4, model=model, tier="fp32-graph").run(requests)
    assert [one.ids for one in recorded] == [one.ids for one in engine(rows=4, model=model, tier="fp32").run(requests)]


def test_a_recording_is_made_once_a_shape_and_takes_in_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bookkeeping around CUDA's recorder, which is replaced by one that remembers what was read and written."""
    recorded: list[tuple[int, int]] = []

    def step(ids: Tensor, positions: Tensor) -> Tensor:
        return (ids + 10 * positions)[..., None].float()

    class Graph:
        def __init__(self, *given: Tensor) -> None:
            self.given, self.output = given, step(*given)

        def replay(self) -> None:
            self.output.copy_(step(*self.given))

    def record(self: Recorded, given: list[Tensor], caches: list[Tensor], offsets: Tensor, visible: int) -> object:
        inputs = [one.clone() for one in given]
        graph = Graph(*inputs)
        recorded.append((len(inputs[0]), visible))
        return graph, inputs, graph.output

    monkeypatch.setattr(Recorded, "_record", record)
    tested = Recorded(Decode(Forward(tiny_model(), Tier("fp32"), 8), 2))
    for rows, visible in ((2, 4), (2, 4), (4, 4), (2, 5), (4, 4)):
        ids, positions = torch.randint(9, (rows, 1)), torch.randint(9, (rows, 1))
        found = tested(ids, positions, None, [torch.zeros(rows, 4, 9, 8)], torch.zeros(rows, 1, 4, dtype=int), visible)
        assert torch.equal(found, step(ids, positions))
    assert recorded == [(2, 4), (4, 4), (2, 5)]


class Still(Decode):
    """A step without a model."""

    def __call__(self, *given: object) -> Tensor:
        return torch.zeros(1)


def test_a_recording_minds_its_own_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may paint, and so allocate, while a step is recorded."""
    modes: list[str] = []

    class Stream:
        def wait_stream(self, other: object) -> None:
            pass

    def graph(recorded: object, capture_error_mode: str = "global") -> object:
        modes.append(capture_error_mode)
        return nullcontext()

    named = {"Stream": Stream, "stream": nullcontext, "current_stream": Stream, "CUDAGraph": object, "graph": graph}
    for name, fake in named.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    recording = Recorded(Still(Forward(tiny_model(), Tier("fp32"), 8), 2))
    recording._record([torch.zeros(1), torch.zeros(1)], [], torch.zeros(1), 1)
    assert modes == ["thread_local"]


def test_a_head_is_never_of_4_bits_nor_of_bits_that_its_device_has_not() -> None:
    head = copy.deepcopy(tiny_model().head)
    assert Head(head, Tier("int4", "compiled")).tier == Tier("int8")
    assert Head(head.to("meta"), Tier("int4", "graph")).tier == Tier("bf16")


def test_the_engines_copy_knows_every_place() -> None:
    model, forward = tiny_model(), Forward(tiny_model(), Tier("fp32"), 8)
    assert model.places is not None
    assert forward.place_table is not None
    for place in [(0, 0, 0), (1, 3, 2), (0, 1, 3), None]:
        expected = model.places(torch.tensor([[place or (-1, -1, -1)]]))[0, 0]
        assert torch.equal(forward.place_table[forward.place(place)], expected)


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16-compiled", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_model_is_loaded_as_its_tier_multiplies(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    tiny_illume().save(tmp_path / "model")
    loaded = illume.load(tmp_path / "model", device="cpu", tier=name)
    assert loaded.parts.model.embedding.text.dtype == dtype
    assert loaded.engine(rows=2).tier == TIERS[name]


def test_a_tier_that_is_not_there_is_said_before_a_model_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tier is called 'fast'"):
        illume.load(tmp_path / "nothing", tier="fast")


def test_strict_mode_with_a_tier_is_refused_before_a_model_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has no tier 'int8'"):
        illume.load(tmp_path / "nothing", tier="int8", strict=True, device="cpu")


@pytest.mark.parametrize("tier", ["fp32", "bf16", "int8", W8A8, "int4"])
def test_every_tier_drafts_codes_too(tier: str) -> None:
    requests = [draw(seed=1, guidance=2.0), edit(seed=2), ask(seed=3)]
    tested = engine(rows=4, tier=tier, parallel=4)
    for request in requests:
        tested.add(request)
    steps, results = 0, []
    while tested.busy:
        results += tested.step()
        steps += 1
    ids = {one.key: one.ids for one in results}
    assert [ids[n] for n in range(3)] == [one.ids for one in engine(rows=4, tier=tier, parallel=4).run(requests)]
    assert steps < max(len(one) for one in ids.values()), "drafts that stay need fewer steps than there are ids"


def test_a_model_draws_in_its_tier(tmp_path: Path) -> None:
    tiny_illume().save(tmp_path / "model")
    drawn = {
        tier: illume.load(tmp_path / "model", dtype="float32", tier=tier).draw("a dot") for tier in ("int4", "fp32")
    }
    assert drawn["fp32"][0].tobytes() == tiny_illume().draw("a dot")[0].tobytes()
    assert drawn["int4"][0].size == drawn["fp32"][0].size


@pytest.mark.parametrize("tier", ["fp32", "bf16", "int8", W8A8, "int4"])
def test_the_bytes_that_a_step_reads_are_those_of_its_weights(tier: str) -> None:
    """Layers, and the head's rows of one level; scales, norms and padded outputs are small beside them."""
    tested, model = engine(rows=2, tier=tier), tiny_model()
    tested.run([draw(seed=1)])
    layers = sum(one.numel() for name, one in model.decoder.named_parameters() if name.endswith("proj.weight"))
    head = sum(run.stop - run.start for run in tested._runner.steps.forward.head.runs) * model.config.decoder.width
    bits = {"fp32": 32, "bf16": 16, "int8": 8, "w8a8": 8, "int4": 4}[tier]
    weights = (layers * bits + head * max(bits, 8)) // 8
    assert weights <= tested.weight_bytes < 1.6 * weights
