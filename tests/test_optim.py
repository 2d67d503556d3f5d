"""Schedules against torch's own, and what each optimiser decays."""

import math

import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_every_optimiser_lowers_a_loss(name: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(3, 1), torch.rand(16, 3)
    optimiser = make_optimiser(name, model, 0.05, weight_decay=1e-4)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (model(x) - 2).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_adamw_decays_matrices_and_leaves_vectors_alone() -> None:
    groups = make_optimiser("adamw", nn.Linear(3, 1), 0.1, weight_decay=0.2).param_groups
    assert [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in groups] == [(0.2, [2]), (0.0, [1])]
