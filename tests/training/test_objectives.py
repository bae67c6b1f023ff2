"""The losses against arithmetic done by hand, and against what must hold for any input."""

import math

import pytest

torch = pytest.importorskip("torch")

from tests.support.prompts import ask

from bedside.core.protocols import Launch
from bedside.core.types import UnpairedPreference
from bedside.training.objectives import DPO, KTO, SFT, DPOLoss, KTOLoss, Scores, class_weights

close = torch.testing.assert_close


def t(*values, grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def scores(logp, reference=None, label=None, z=None, tokens=None, tokens_mean=1.0):
    logp_BK = logp if logp.dim() == 2 else logp[:, None]
    zeros = torch.zeros_like(logp_BK.detach())
    return Scores(
        logp_BK=logp_BK,
        reference_BK=zeros if reference is None else reference.view_as(logp_BK),
        tokens_BK=zeros + 1 if tokens is None else tokens.view_as(logp_BK),
        tokens_mean=tokens_mean,
        label_B=None if label is None else torch.tensor(label),
        z=None if z is None else t(z)[0],
    )


def test_kto_by_hand():
    # z = 2; the desirable row gains 12 − 2, the undesirable one 2 − 12
    loss_B = KTOLoss(0.1, 1.0, 2.0).loss(scores(t(12.0, 12.0), label=[True, False], z=2.0))
    close(loss_B, t(1 - sigmoid(1.0), 2 * (1 - sigmoid(-1.0))))


def test_kto_at_the_reference_is_half_of_the_weight_with_a_quarter_of_its_slope():
    ratio_B = t(0.0, 0.0, grad=True)
    loss_B = KTOLoss(0.1, 1.0, 3.0).loss(scores(ratio_B, label=[True, False], z=0.0))
    loss_B.sum().backward()
    close(loss_B.detach(), t(0.5, 1.5))
    close(ratio_B.grad, t(-0.1 / 4, 3 * 0.1 / 4))


def test_dpo_by_hand():
    # margins 0, 10 and −10 nats at β = 0.1
    logp_BK = torch.stack([t(-2.0, 4.0, -7.0), t(-2.0, -6.0, 3.0)], dim=1)
    close(DPOLoss(0.1).loss(scores(logp_BK)), t(math.log(2), -math.log(sigmoid(1)), -math.log(sigmoid(-1))))


def test_dpo_at_the_reference_is_ln_2_with_half_of_beta_as_slope():
    logp_BK = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    DPOLoss(0.1).loss(scores(logp_BK)).sum().backward()
    close(logp_BK.grad, torch.tensor([[-0.05, 0.05]], dtype=torch.float64))


def test_label_smoothing_mixes_in_the_loss_of_the_swapped_pair():
    margin = 7.0
    logp_BK = t(margin, 0.0)[None]
    expected = 0.8 * -math.log(sigmoid(0.1 * margin)) + 0.2 * -math.log(sigmoid(-0.1 * margin))
    close(DPOLoss(0.1, 0.2).loss(scores(logp_BK)), t(expected))


def test_rpo_alpha_adds_the_mean_nll_per_token_of_the_chosen_answers():
    # chosen: 6 nats over 3 tokens and 1 nat over 1, so 7 nats over 4 tokens; margins 0 and 2 nats
    logp_BK, reference_BK = (
        torch.stack([t(-6.0, -1.0), t(-9.0, -5.0)], 1),
        torch.stack([t(-6.0, -3.0), t(-9.0, -5.0)], 1),
    )
    rows = scores(logp_BK, reference_BK, tokens_mean=2.0)
    plain = (math.log(2) - math.log(sigmoid(0.2))) / 2
    close(DPO(rpo_alpha=0.5).open(Launch()).loss(rows).mean(), t(plain + 0.5 * 7 / 4)[0])
    for off in (None, 0):
        close(DPO(rpo_alpha=off).open(Launch()).loss(rows).mean(), t(plain)[0])


def test_sft_is_the_mean_over_tokens_of_the_batch():
    # −log p of 6 nats over 3 tokens and 1 nat over 1: 7 nats over 4 tokens
    loss_B = SFT().open(Launch()).loss(scores(t(-6.0, -1.0), tokens_mean=2.0))
    close(loss_B.mean(), t(7 / 4)[0])


@pytest.mark.parametrize(
    ("desirable", "undesirable", "weights"),
    [
        (40, 40, (1.0, 1.0)),
        (40, 30, (1.0, 1.0)),  # 4/3 is still inside
        (80, 40, (1.0, 1.5)),  # 80 / (1.5 · 40) = 4/3
        (20, 40, (2.0, 1.0)),  # 2 · 20 / 40 = 1
        (1, 40, (4.0, 1.0)),  # at most 4
        (0, 40, (1.0, 1.0)),
    ],
)
def test_class_weights_bring_the_ratio_between_1_and_4_thirds(desirable, undesirable, weights):
    assert class_weights(desirable, undesirable) == pytest.approx(weights)
    rows = [UnpairedPreference(ask(str(i)), "x", i < desirable) for i in range(desirable + undesirable)]
    objective = KTO().open(Launch()).for_data(rows)
    assert (objective.desirable_weight, objective.undesirable_weight) == pytest.approx(weights)


def test_weights_that_the_config_gives_are_kept():
    rows = [UnpairedPreference(ask(str(i)), "x", i < 1) for i in range(9)]
    objective = KTO(desirable_weight=1.0).open(Launch()).for_data(rows)
    assert (objective.desirable_weight, objective.undesirable_weight) == (1.0, 1.0)


@pytest.mark.parametrize("shift", [-30.0, 0.5, 30.0])
def test_dpo_sees_only_the_margin(shift):
    logp_BK = torch.stack([t(1.0, -2.0), t(0.0, 5.0)], dim=1)
    close(DPOLoss(0.1).loss(scores(logp_BK + shift)), DPOLoss(0.1).loss(scores(logp_BK)))


def test_gradients_match_finite_differences():
    torch.autograd.gradcheck(lambda x: DPOLoss(0.3, 0.1).loss(scores(x)), torch.randn(3, 2).double().requires_grad_())
    desirable = [True, False, True]
    torch.autograd.gradcheck(
        lambda x: KTOLoss(0.3).loss(scores(x, label=desirable, z=0.5)), (t(1.0, -2.0, 0.1, grad=True),)
    )


def test_far_margins_stay_finite():
    far_BK = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], dtype=torch.float64)
    assert torch.isfinite(DPO().open(Launch()).loss(scores(far_BK))).all()
    assert torch.isfinite(KTOLoss(0.1).loss(scores(t(1e4, -1e4), label=[False, True], z=0.0))).all()
