"""Schedules against torch's own, and what each optimiser decays."""

import math

import pytest
import torch
from torch import nn

from labkit.training.muon import Muon, orthogonal
from labkit.training.optim import constant, make_optimiser, make_schedule, one_cycle, plateau, step_decay, warm_up


def torch_rates(make: object, steps: int, scores: list[float] | None = None) -> list[float]:
    """The rates that one of torch's schedulers gives, one a step."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimiser), []
    for step in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step(*([scores[step]] if scores else []))
    return rates


def test_step_decay_is_steplr() -> None:
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 10, 0.1), 35)
    schedule = step_decay(10, 0.1)
    assert [schedule(epoch + 0.7, []) for epoch in range(35)] == pytest.approx(theirs)


def test_one_cycle_is_onecyclelr() -> None:
    steps = 400
    theirs = torch_rates(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, max_lr=1.0, total_steps=steps + 1, pct_start=0.25, div_factor=25, final_div_factor=400
        ),
        steps,
    )
    schedule = one_cycle(4, rise=0.25, start=0.04, end=1e-4)
    ours = [schedule(4 * step / steps, []) for step in range(steps)]
    assert ours == pytest.approx(theirs, abs=0.01)


def test_plateau_is_reducelronplateau() -> None:
    scores = [0.1, 0.3, 0.2, 0.3, 0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.6, 0.1, 0.1, 0.1]
    theirs = torch_rates(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, mode="max", factor=0.1, patience=2, threshold=0, threshold_mode="abs"
        ),
        len(scores),
        scores,
    )
    schedule = plateau(2, 0.1)
    assert [schedule(epoch, scores[:epoch]) for epoch in range(len(scores))] == pytest.approx(theirs)


def test_warm_up_rises_in_a_line_and_then_follows() -> None:
    schedule = warm_up(step_decay(2, 0.5), 1)
    assert schedule(0, []) == pytest.approx(0.01)
    assert schedule(0.5, []) == pytest.approx(0.505)
    assert schedule(1.5, []) == 1
    assert schedule(2.5, []) == 0.5
    bare = constant()
    assert warm_up(bare, 0) is bare


@pytest.mark.parametrize("name", ["constant", "step", "plateau", "one_cycle"])
def test_every_schedule_stays_between_zero_and_the_peak(name: str) -> None:
    schedule = make_schedule(name, 12, warmup_epochs=0.5)
    rates = [schedule(t / 10, [0.5] * (t // 10)) for t in range(121)]
    assert all(0 < rate <= 1 and math.isfinite(rate) for rate in rates)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "sgd"])
def test_every_optimiser_lowers_a_loss(name: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1)), torch.rand(16, 1, 4, 4)
    optimiser = make_optimiser(name, model, 0.05, weight_decay=1e-4)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (model(x) - 2).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_a_skipped_first_step_leaves_no_momentum_behind() -> None:
    model = nn.Linear(1000, 10)
    before = [p.clone() for p in model.parameters()]
    optimiser = make_optimiser("sgd", model, 0.1, scaled=True)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.full((2, 1000), float("inf"))).sum()).backward()
    scaler.step(optimiser)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert not [s for s in optimiser.state.values() if s.get("momentum_buffer") is not None]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_matrices_decay_and_vectors_do_not(name: str) -> None:
    groups = make_optimiser(name, nn.Linear(3, 1), 0.1, weight_decay=0.2).param_groups
    assert [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in groups] == [(0.2, [2]), (0.0, [1])]


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 3, 3, 3), (8, 8, 1, 1)])
def test_orthogonal_kernels_keep_their_directions_and_level_their_lengths(shape: tuple[int, ...]) -> None:
    kernels = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    u, before, v = torch.linalg.svd(kernels.flatten(1), full_matrices=False)
    turned = orthogonal(kernels)
    assert turned.shape == kernels.shape
    after = u.T @ turned.flatten(1) @ v.T
    assert before.max() / before.min() > 1.8
    assert 0.6 < after.diagonal().min() < after.diagonal().max() < 1.25
    assert (after - after.diagonal().diag()).abs().max() < 1e-4


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_kernels_that_have_few_directions_stay_finite(rank: int) -> None:
    draw = torch.Generator().manual_seed(0)
    kernels = torch.randn(64, rank, generator=draw) @ torch.randn(rank, 288, generator=draw)
    lengths = torch.linalg.svdvals(orthogonal(kernels.view(64, 32, 3, 3)).flatten(1))
    assert ((lengths > 0.6) & (lengths < 1.25)).sum() == rank
    assert lengths[rank:].max() < 0.1


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_muon_moves_an_entry_by_a_fifth_of_the_rate_whatever_the_gradient(size: float) -> None:
    kernels = nn.Parameter(torch.zeros(32, 16, 3, 3))
    kernels.grad = size * torch.randn(kernels.shape, generator=torch.Generator().manual_seed(0))
    Muon([kernels], lr=0.1).step()
    assert kernels.square().mean().sqrt().item() == pytest.approx(0.2 * 0.1, rel=0.2)


def test_muon_looks_ahead_along_its_momentum() -> None:
    kernels, draw = nn.Parameter(torch.zeros(8, 4, 3, 3)), torch.Generator().manual_seed(0)
    gradients = [torch.randn(kernels.shape, generator=draw) for _ in range(2)]
    optimiser = Muon([kernels], lr=0.1, momentum=0.9)
    for kernels.grad in gradients:
        optimiser.step()
    first, second = gradients
    means = 0.1 * first, 0.09 * first + 0.1 * second
    steps = [orthogonal(0.1 * gradient + 0.9 * mean) for gradient, mean in zip(gradients, means, strict=True)]
    torch.testing.assert_close(kernels.data, -0.1 * 0.2 * 36**0.5 * (steps[0] + steps[1]))


def test_what_is_no_kernel_moves_as_by_adamw() -> None:
    models = [nn.Linear(5, 3), nn.Linear(5, 3)]
    models[1].load_state_dict(models[0].state_dict())
    optimisers = [make_optimiser(name, model, 0.05, 0.1) for name, model in zip(("muon", "adamw"), models, strict=True)]
    for step in range(5):
        x = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        for model, optimiser in zip(models, optimisers, strict=True):
            optimiser.zero_grad()
            model(x).square().mean().backward()
            optimiser.step()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other)
