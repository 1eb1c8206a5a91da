"""R_op: which steps it measures, what it sums, and what it survives.

That it counts exactly the weights of Eq. 2 stands in test_properties.py.
"""

import copy
import math
from typing import Any

import pytest
import torch
from small import assert_same, attached, data, mlp, train, weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam

import lpwd
from lpwd.decay import reference


def attach(
    method: str = "wd", every: int = 1, optimizer: str = "adam", **kwargs: Any
) -> tuple[nn.Module, Any, lpwd.WeightDecay, lpwd.OpposingRate]:
    model, opt, decay = attached(method, optimizer, 0.7, lr=0.3, **kwargs)
    return model, opt, decay, lpwd.OpposingRate(decay, every=every)


class Fixed(nn.Module):
    """Four weights in two layers, with gradients that the test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow, self.deep = nn.Module(), nn.Module()
        self.shallow.w = nn.Parameter(torch.tensor([1.0, -1.0], dtype=torch.float64))
        self.deep.w = nn.Parameter(torch.tensor([2.0, 0.0], dtype=torch.float64))

    def forward(self, shallow: list[float], deep: list[float]) -> Tensor:
        g = torch.tensor([shallow, deep], dtype=torch.float64)
        return (self.shallow.w * g[0]).sum() + (self.deep.w * g[1]).sum()


def test_wd_on_four_weights_worked_out_by_head() -> None:
    model = Fixed()
    optimizer = SGD(model.parameters(), lr=1.0)
    decay = lpwd.WeightDecay(optimizer, model, "wd", 0.1, profile="linear")  # λ_i = 0.1, 0.2
    opposing = lpwd.OpposingRate(decay)
    # θ̂ = θ − ηU = (−0.5, −1.2) and (0.3, −5), P = ηλ_iθ = (0.1, −0.1) and (0.4, 0):
    # |−0.5 − 0.1| > |−0.5| opposes; |−1.2 + 0.1| does not; |0.3 − 0.4| = 0.1 crosses zero and is
    # smaller all the same; the last has P = 0 and is not counted.
    model([1.5, 0.2], [1.7, 5.0]).backward()
    optimizer.step()
    found = opposing.compute()
    assert model.shallow.w.tolist() == pytest.approx([-0.6, -1.1])
    assert model.deep.w.tolist() == pytest.approx([-0.1, -5.0])
    assert (found.share, found.size) == pytest.approx((1 / 3, 0.1 / 0.6))
    assert found.layer_share == pytest.approx([1 / 2, 0])
    assert found.layer_size == pytest.approx([0.1 / 0.2, 0])


@pytest.mark.parametrize("method", ["wd", "pwd", "lpwd"])
@pytest.mark.parametrize("every", [1, 3])
def test_sums_over_the_measured_steps(method: str, every: int) -> None:
    """Every `every`-th step from the first; shares and sizes are of the sums, not their mean."""
    model, optimizer, decay, opposing = attach(method, every)
    index = lpwd.layer_index(model)
    sums = torch.zeros(4, decay.layer_count, dtype=torch.float64)
    for step in range(7):
        theta = weights(model)
        (after,) = train(model, optimizer, [step])
        if step % every:
            continue
        for name, i in index.items():
            penalty = 0.3 * decay.rates[name] * theta[name]
            marked = reference.opposes(after[name] + penalty, penalty)
            sums[:, i - 1] += torch.stack(
                [
                    marked.sum().double(),
                    (penalty != 0).sum().double(),
                    penalty[marked].abs().sum(),
                    penalty.abs().sum(),
                ]
            )
    found = opposing.compute()
    total = sums.sum(1)
    assert total[0] > 0
    assert found.share == total[0] / total[1]
    assert found.size == pytest.approx(float(total[2] / total[3]), rel=1e-12)
    assert found.layer_share == (sums[0] / sums[1]).tolist()
    assert found.layer_size == pytest.approx((sums[2] / sums[3]).tolist(), rel=1e-12)


def test_small_penalties_are_counted_where_float32_would_round_them_away() -> None:
    """θ̂ − P = θ̂ in float32 here: squares compared would not see that P opposes."""
    model = nn.Linear(1, 1, bias=False)
    optimizer = SGD(model.parameters(), lr=1e-5)
    decay = lpwd.WeightDecay(optimizer, model, "wd", 5e-4)
    opposing = lpwd.OpposingRate(decay)
    with torch.no_grad():
        model.weight.fill_(1e-6)
    model.weight.grad = torch.ones(1, 1)  # θ̂ = 1e-6 − 1e-5 < 0, P = 5e-15 > 0
    optimizer.step()
    penalty = torch.tensor(5e-15)
    assert model.weight == model.weight - penalty
    assert opposing.compute().share == 1


def test_layers_that_come_and_go_are_measured_anew() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    optimizer = SGD([{"params": layer.parameters()} for layer in model], lr=0.1)
    decay = lpwd.WeightDecay(optimizer, model, "wd", 0.5)
    opposing = lpwd.OpposingRate(decay)

    def step() -> None:
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()

    step()
    del model[1], optimizer.param_groups[1]
    with pytest.warns(UserWarning, match="other layers now"):
        step()
    assert len(opposing.compute().layer_share) == 2
    model.append(nn.Linear(3, 3))
    optimizer.add_param_group({"params": model[2].parameters()})
    with pytest.warns(UserWarning, match="other layers now"):
        step()
    assert len(opposing.compute().layer_share) == 3


@pytest.mark.parametrize(("name", "value"), [("decay", None), ("every", 0), ("every", "a")])
def test_what_it_does_not_take(name: str, value: Any) -> None:
    _, _, decay = attached("wd", "adam", 0.7)
    with pytest.raises(ValueError, match=name):
        lpwd.OpposingRate(**{"decay": decay, name: value})


def test_sums_of_half_precision_are_as_exact_as_its_numbers() -> None:
    model = nn.Linear(1000, 100, bias=False, dtype=torch.bfloat16)
    with torch.no_grad():
        model.weight.copy_(torch.randn(100, 1000, generator=torch.Generator().manual_seed(0)))
    theta = model.weight.detach().double()
    optimizer = SGD(model.parameters(), lr=1.0)
    decay = lpwd.WeightDecay(optimizer, model, "wd", 0.5)
    opposing = lpwd.OpposingRate(decay)
    model.weight.grad = model.weight.detach() * (model.weight > 0)  # θ̂ = 0 there, θ elsewhere
    optimizer.step()
    of_opposing = theta[theta > 0].abs().sum() / theta.abs().sum()
    assert opposing.compute().size == pytest.approx(float(of_opposing), rel=1e-6)


@pytest.mark.parametrize("method", ["wd", "rwd", "pwd", "lpwd"])
def test_measuring_changes_no_weight(method: str) -> None:
    model, optimizer, _, _ = attach(method, every=2)
    measured = train(model, optimizer)
    model, optimizer, _, opposing = attach(method)
    opposing.remove()
    assert_same(train(model, optimizer), measured)
    assert math.isnan(opposing.compute().share)


def test_nothing_measured_is_nan() -> None:
    model, optimizer, decay, opposing = attach()
    before = opposing.compute()
    assert math.isnan(before.share)
    assert math.isnan(before.size)
    assert len(before.layer_share) == len(before.layer_size) == decay.layer_count
    train(model, optimizer)
    assert not math.isnan(opposing.compute().share)
    opposing.reset()
    assert math.isnan(opposing.compute().share)


def test_frozen_layers_count_nothing() -> None:
    model, optimizer, _, opposing = attach()
    model[0].requires_grad_(False)
    train(model, optimizer)
    found = opposing.compute()
    assert math.isnan(found.layer_share[0])
    assert all(math.isfinite(share) for share in found.layer_share[1:])


def test_accumulation_measures_the_step_once() -> None:
    model, optimizer, _, opposing = attach("pwd")
    for step in range(2):
        for micro in range(3):
            x, y = data(3 * step + micro)
            cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    weights_seen = int(opposing.state_dict()["sums"][1].sum())
    zeros = 5  # the LayerNorm's bias starts at zero: P = 0 on the first step
    assert weights_seen == 2 * sum(p.numel() for p in model.parameters()) - zeros


def test_state_dict_round_trip() -> None:
    model, optimizer, _, opposing = attach(every=2)
    train(model, optimizer, range(8))
    whole = opposing.compute()

    model, optimizer, _, opposing = attach(every=2)
    train(model, optimizer, range(3))
    state = opposing.state_dict()
    saved = copy.deepcopy((state, model.state_dict(), optimizer.state_dict()))
    train(model, optimizer, range(3, 8))
    assert torch.equal(state["sums"], saved[0]["sums"])  # what was saved stays as it was

    model, optimizer, _, opposing = attach(every=2)
    opposing.load_state_dict(saved[0])
    model.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[2])
    train(model, optimizer, range(3, 8))
    assert opposing.compute() == whole
    assert torch.equal(state["sums"], saved[0]["sums"])


def test_parameters_added_later_are_measured() -> None:
    model = mlp()
    optimizer = SGD(model[:4].parameters(), lr=0.3)
    decay = lpwd.WeightDecay(optimizer, model, "wd", 0.7)
    opposing = lpwd.OpposingRate(decay)
    train(model, optimizer, range(2))
    assert math.isnan(opposing.compute().layer_share[3])
    optimizer.add_param_group({"params": model[4].parameters(), "lr": 0.2})
    train(model, optimizer, range(2))
    assert opposing.compute().layer_size[3] >= 0
    assert opposing.state_dict()["sums"][1, 3] == 2 * (8 + 2)


@pytest.mark.parametrize("method", ["wd", "rwd", "pwd"])
def test_a_step_that_the_scaler_skips_counts_nothing(method: str) -> None:
    """The fused optimizer alone knows, on the device, that it skipped the step."""

    def run(overflow: bool) -> Any:
        model = mlp(dtype=torch.float32)
        optimizer = Adam(model.parameters(), lr=0.3, fused=True)
        decay = lpwd.WeightDecay(optimizer, model, method, 0.7)
        opposing = lpwd.OpposingRate(decay)
        scaler = torch.amp.GradScaler("cpu")
        for step in (0, 0, 1) if overflow else (0, 1):
            x, y = data(step, torch.float32)
            scaler.scale(cross_entropy(model(x), y)).backward()
            if overflow:
                model[0].bias.grad[0] = torch.inf
                overflow = False
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return opposing.state_dict()["sums"]

    with_overflow, without = run(True), run(False)
    if method == "pwd":  # the skipped step's decay, shared with the next try, is not measured
        assert with_overflow[1].sum() < without[1].sum()
        assert with_overflow[1].sum() > 0
    else:
        torch.testing.assert_close(with_overflow, without, rtol=1e-6, atol=0)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["baseline", "l2"])
def test_methods_without_a_decay_term_are_refused(method: str) -> None:
    model = mlp()
    decay = lpwd.WeightDecay(SGD(model.parameters()), model, method, 0.5)
    with pytest.raises(ValueError, match=f"^{method} has no decay term"):
        lpwd.OpposingRate(decay)


def test_wrong_interval_and_second_measure_are_refused() -> None:
    _, _, decay, opposing = attach()
    with pytest.raises(ValueError, match="call its remove"):
        lpwd.OpposingRate(decay)
    opposing.remove()
    with pytest.raises(ValueError, match="every=0 must be a whole number"):
        lpwd.OpposingRate(decay, every=0)
    lpwd.OpposingRate(decay)


# -- on a GPU: the same sums by other kernels -----------------------------------------------------


@pytest.mark.parametrize("method", ["wd", "rwd", "lpwd"])
def test_a_few_kernels_count_what_passes_count(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer, _, opposing = attach(method)
    train(model, optimizer)
    monkeypatch.setattr(
        lpwd.decay.opposing, "_sums_by_passes", lpwd.decay.opposing._sums_by_foreach
    )
    model, optimizer, _, by_foreach = attach(method)
    train(model, optimizer)
    passes, kernels = opposing._sums, by_foreach._sums
    assert passes is not None
    assert kernels is not None
    assert (passes[3] > 0).all()
    assert_same({"counts": kernels[:2]}, {"counts": passes[:2]})
    torch.testing.assert_close(kernels, passes, rtol=1e-12, atol=0)


def test_signs_at_the_edge_are_the_same_by_kernels() -> None:
    """Zeros of either sign, weights that end at P's far side, sums that float32 would round."""
    w = torch.tensor([0.0, -0.0, 1.0, -1e-30, 5e-15, -2.0, 1.0, 2**-149])
    p = torch.tensor([1.0, 1.0, 0.0, 1e-30, 5e-15, 4.0, -1e-8, 2**-149])
    assert len(w) == len(p)
    weights, penalties = [w, w[2:5].clone()], [p, p[2:5].clone()]
    found = lpwd.decay.opposing._sums_by_foreach(weights, penalties)
    torch.testing.assert_close(found, lpwd.decay.opposing._sums_by_passes(weights, penalties))
    marked = reference.opposes(w.double() + p.double(), p.double())
    assert found[0, 0] == marked.sum()


def test_sums_are_added_to_their_layers_in_one_order() -> None:
    """As index_add_ does on a processor, to the bit; a layer without tensors keeps its total."""
    torch.manual_seed(0)
    layers, totals = [3, 1, 1, 3, 4, 3], torch.rand(2, 4, dtype=torch.float64)
    sums = 10.0 ** torch.randint(-16, 16, (2, 6)) * torch.rand(2, 6, dtype=torch.float64)
    by_layer = lpwd.decay.opposing.ByLayer(layers, 4, torch.device("cpu"))
    expected = totals.index_add(1, torch.tensor(layers) - 1, sums)
    assert torch.equal(by_layer.add(totals, sums), expected)
