"""Quantisers: phases, statistics that add up, no dead codes, and agreement with vector-quantize-pytorch."""

import pytest
import torch
from torch import Tensor

from illume.core.config import from_dict, to_dict
from illume.core.errors import ConfigError
from illume.models.codebook import kmeans, nearest, pick
from illume.models.quantizer import (
    VQ,
    ProductVQ,
    ProductVQConfig,
    SimVQ,
    SimVQConfig,
    VQConfig,
    build_quantizer,
    code_metrics,
)


def cloud(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def started(config: VQConfig, features: Tensor) -> VQ:
    """A VQ just past its k-means."""
    vq = VQ(config)
    vq.loss(features)
    vq.after_step(1, 1)
    assert vq.started
    return vq


@pytest.mark.parametrize("config", [VQConfig(), SimVQConfig(), ProductVQConfig()])
def test_a_config_survives_the_round_trip(config: VQConfig | SimVQConfig | ProductVQConfig) -> None:
    assert from_dict(type(config), to_dict(config)) == config
    quantizer = build_quantizer(config)
    codes = torch.zeros(1, 2, dtype=torch.long)
    assert quantizer.decode(codes).shape == (1, 2, quantizer.dim)


def test_a_reservoir_smaller_than_the_codebook_is_refused() -> None:
    with pytest.raises(ConfigError, match="reservoir 8 is smaller than num_codes 512"):
        from_dict(VQConfig, {"reservoir": 8})


def test_nearest_is_the_nearest_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    points, codebook = cloud(7, 11, 4), cloud(9, 4, seed=1)
    expected = torch.cdist(points, codebook).argmin(-1)
    assert torch.equal(nearest(points, codebook), expected)
    monkeypatch.setattr("illume.models.codebook.LARGEST_TABLE", 20)
    assert torch.equal(nearest(points, codebook), expected)


def test_nearest_keeps_float32_under_autocast() -> None:
    points, codebook = cloud(200, 4), cloud(200, 4, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = nearest(points, codebook)
    assert torch.equal(found, nearest(points, codebook))


def test_pick_takes_every_different_point_once_and_none_that_is_taken() -> None:
    points = cloud(6, 3).repeat(5, 1)
    chosen = pick(points, points[:2], 10, torch.Generator().manual_seed(0))
    assert len(chosen) == 4
    assert len(torch.cat([chosen, points[:2]]).unique(dim=0)) == 6


@pytest.mark.parametrize("unit_norm", [True, False])
def test_kmeans_finds_well_parted_clusters(unit_norm: bool) -> None:
    centres = torch.eye(5)
    points = torch.nn.functional.normalize(centres.repeat(20, 1) + 0.01 * cloud(100, 5), dim=-1)
    start = pick(points, points[:0], 5, torch.Generator().manual_seed(1))
    clusters = kmeans(points, start, unit_norm)
    assert torch.allclose(clusters.centres[nearest(centres, clusters.centres)], centres, atol=0.02)
    assert torch.allclose(clusters.share, torch.full((5,), 0.2))


def test_vq_is_continuous_then_quantises() -> None:
    vq = VQ(VQConfig(num_codes=8, dim=4, reservoir=64, continuous=0.5))
    features = cloud(2, 16, 4)
    for step in range(1, 5):
        assert not vq.started
        out = vq.loss(features)
        assert torch.equal(out.quantised, torch.nn.functional.normalize(features, dim=-1))
        assert out.loss == 0
        vq.after_step(step, 8)
    out = vq.loss(features)
    assert torch.equal(out.quantised, vq.decode(out.codes))
    assert out.loss > 0


def test_gradients_pass_straight_through() -> None:
    config = VQConfig(num_codes=8, dim=4, reservoir=64, unit_norm=False, commitment=0.0)
    features = cloud(2, 16, 4).requires_grad_()
    vq = started(config, features)
    (vq.loss(features).quantised * 3).sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.full_like(features, 3))


def test_micro_batches_move_the_codebook_as_the_whole_batch_does() -> None:
    config = VQConfig(num_codes=8, dim=4, reservoir=64)
    whole, parts = started(config, cloud(4, 16, 4)), started(config, cloud(4, 16, 4))
    batch = cloud(4, 16, 4, seed=1)
    whole.loss(batch)
    for part in batch.split(1):
        parts.loss(part)
    whole.after_step(3, 10)
    parts.after_step(3, 10)
    assert torch.allclose(whole.codebook, parts.codebook, atol=1e-6)
    assert torch.equal(whole.statistics.recent, parts.statistics.recent)


def test_evaluation_leaves_no_trace() -> None:
    vq = started(VQConfig(num_codes=8, dim=4, reservoir=64), cloud(2, 16, 4)).eval()
    before = {name: tensor.clone() for name, tensor in vq.state_dict().items()}
    vq.loss(cloud(2, 16, 4, seed=1))
    vq.train().after_step(3, 10)
    kept = {name for name, tensor in vq.state_dict().items() if torch.equal(tensor, before[name])}
    assert {"statistics.recent", "statistics.filled"} <= kept
    assert torch.allclose(vq.codebook, before["codebook"], atol=1e-6)


@pytest.mark.parametrize(("first", "alive"), [(1, 1.0), (41, 4 / 16)])
def test_dead_codes_come_back_to_life_until_their_time_is_over(first: int, alive: float) -> None:
    config = VQConfig(num_codes=16, dim=4, reservoir=256, revive_every=5)
    four = cloud(4, 1, 4).expand(-1, 32, -1)
    vq = started(config, four)  # twelve codes have nowhere to be
    features = cloud(8, 32, 4, seed=2) if first == 1 else four
    for step in range(first, 51):
        vq.loss(features)
        vq.after_step(step, 50)
    assert code_metrics(vq.encode(features), 16)["utilisation"] == alive


def test_a_codebook_in_training_resumes_exactly() -> None:
    config = VQConfig(num_codes=8, dim=4, reservoir=64, continuous=0.3, revive_every=2)

    def run(vq: VQ, steps: range) -> VQ:
        for step in steps:
            vq.loss(cloud(2, 16, 4, seed=step))
            vq.after_step(step, 10)
        return vq

    through = run(VQ(config), range(1, 11))
    for stop in (2, 5):
        resumed = VQ(config)
        resumed.load_state_dict(run(VQ(config), range(1, stop + 1)).state_dict())
        assert torch.equal(run(resumed, range(stop + 1, 11)).codebook, through.codebook)


def test_product_codes_are_all_combinations() -> None:
    quantizer = ProductVQ(ProductVQConfig(groups=(VQConfig(num_codes=2, dim=3), VQConfig(num_codes=5, dim=1))))
    assert (quantizer.num_codes, quantizer.dim) == (10, 4)
    vectors = quantizer.decode(torch.arange(10)[None])[0]
    assert torch.equal(vectors[:5, :3], vectors[:1, :3].expand(5, -1))
    assert torch.equal(vectors[:5, 3:], vectors[5:, 3:])


def test_product_vectors_tell_which_entry_of_each_group() -> None:
    quantizer = ProductVQ(ProductVQConfig(groups=(VQConfig(num_codes=2, dim=3), VQConfig(num_codes=5, dim=1))))
    vectors, entries = quantizer.code_vectors().split([4, 7], dim=1)
    assert torch.equal(vectors, quantizer.decode(torch.arange(10)[None])[0])
    assert torch.equal(entries.sum(0), torch.tensor([5.0] * 2 + [2.0] * 5))
    assert len(entries.unique(dim=0)) == 10


def test_metrics_of_an_even_and_of_a_collapsed_codebook() -> None:
    even = code_metrics(torch.arange(8).reshape(2, 4), 8)
    assert even["utilisation"] == 1
    assert torch.isclose(even["perplexity"], torch.tensor(8.0))
    collapsed = code_metrics(torch.zeros(2, 4, dtype=torch.long), 8)
    assert collapsed["utilisation"] == 1 / 8
    assert torch.isclose(collapsed["perplexity"], torch.tensor(1.0))


def test_vq_agrees_with_vector_quantize_pytorch() -> None:
    reference_package = pytest.importorskip("vector_quantize_pytorch")
    config = VQConfig(num_codes=16, dim=4, reservoir=64, decay=0.9, revive_until=0.0)
    ours = started(config, cloud(4, 16, 4))
    reference = reference_package.VectorQuantize(
        dim=4, codebook_size=16, decay=0.9, commitment_weight=0.25, use_cosine_sim=True, threshold_ema_dead_code=0
    )
    book = reference._codebook
    book.initted.fill_(1)
    book.embed.copy_(ours.codebook[None])
    book.embed_avg.copy_(ours.statistics.sums[None])
    book.cluster_size.copy_(ours.statistics.share[None])
    # The reference counts features where we take shares of them: begin it with the counts of a batch of 64.
    book.embed_avg.mul_(64)
    book.cluster_size.mul_(64)
    for step in range(2, 8):
        features = torch.nn.functional.normalize(cloud(4, 16, 4, seed=step), dim=-1)
        codes, vectors = ours.encode(features), ours.decode(ours.encode(features))
        loss = ours.loss(features).loss
        theirs, their_codes, their_loss = reference(features)
        assert torch.equal(codes, their_codes)
        assert torch.allclose(vectors, theirs, atol=1e-5)  # measured 6e-8
        assert torch.allclose(loss, their_loss.sum(), atol=1e-6)
        ours.after_step(step, 10)
        assert torch.allclose(ours.codebook, book.embed[0], atol=1e-5)


def test_simvq_agrees_with_vector_quantize_pytorch() -> None:
    reference_package = pytest.importorskip("vector_quantize_pytorch")
    ours = SimVQ(SimVQConfig(num_codes=16, dim=4))
    reference = reference_package.SimVQ(
        dim=4, codebook_size=16, rotation_trick=False, input_to_quantize_commit_loss_weight=0.25
    )
    reference.frozen_codebook.copy_(ours.frozen_codebook)
    reference.code_transform.load_state_dict(ours.code_transform.state_dict())
    features = cloud(3, 8, 4)
    out = ours.loss(features)
    theirs, codes, loss = reference(features)
    assert torch.equal(out.codes, codes)
    assert torch.allclose(out.quantised, theirs, atol=1e-6)
    assert torch.allclose(out.loss, loss, atol=1e-6)
