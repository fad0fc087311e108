"""AlphaGo Zero: the loss, what a search is told, and that it learns to see a win."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from neurarium.errors import InvalidValue
from neurarium.learners.self_play import Played
from neurarium.parts.games import Plays
from neurarium.parts.tree import Evaluate, Search
from neurarium.systems.reinforcement.alphago_zero import AlphaGoZero, PolicyValueNet, judgement, policy_loss
from neurarium.systems.reinforcement.monte_carlo_tree_search import SearchPlayer
from neurarium.worlds.lines import tic_tac_toe

GAME = tic_tac_toe()


def seat(evaluate: Evaluate, generator: torch.Generator) -> SearchPlayer:
    return SearchPlayer(Search(GAME, evaluate, simulations=10))


def learner(*, lr: float = 1e-2, keeps: int = 0) -> AlphaGoZero:
    torch.manual_seed(0)
    net = PolicyValueNet(shape=GAME.shape, actions=GAME.actions, width=16, blocks=1)
    return AlphaGoZero(GAME, net, seat=seat, lr=lr, keeps=keeps)


def batch() -> Played:
    """A board on which the third cell wins, and the empty one."""
    positions = GAME.start(1)
    for cell in (0, 3, 1, 4):
        positions = GAME.play(positions, torch.tensor([cell]))
    planes = torch.cat([GAME.planes(positions), GAME.planes(GAME.start(1))]).to(torch.uint8)
    policies = torch.stack([torch.eye(9)[2], torch.full((9,), 1 / 9)])
    return Played(planes, policies, torch.tensor([1.0, 0.0]))


def test_the_policys_loss_and_gradient_are_pytorchs_cross_entropy() -> None:
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), requires_grad=True)
    policies = torch.rand(6, 9, generator=torch.Generator().manual_seed(1)).softmax(1)
    ours, theirs = policy_loss(logits, policies), cross_entropy(logits, policies)
    torch.testing.assert_close(ours, theirs)
    (mine,), (peers,) = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(mine, peers)


def test_learns_what_it_was_shown() -> None:
    zero, shown = learner(), batch()
    first = zero.learn(shown)
    for _ in range(150):
        last = zero.learn(shown)
    assert float(last["value_loss"]) < 0.05 < float(first["value_loss"])
    assert float(last["policy_loss"]) < 0.6 * float(first["policy_loss"])


def test_priors_are_probabilities_of_legal_actions_alone() -> None:
    positions = GAME.play(GAME.start(80), torch.arange(80) % 9)
    priors, values = learner().evaluate(positions)
    assert priors[~GAME.legal(positions)].abs().max() == 0
    torch.testing.assert_close(priors.sum(1), torch.ones(80))
    assert values.abs().max() <= 1


def test_many_positions_at_once_are_judged_as_few() -> None:
    net = learner().model
    positions = GAME.play(GAME.start(90), torch.arange(90) % 9)
    many = judgement(GAME, net)(positions)
    few = judgement(GAME, net)(type(positions)(*(field[:9] for field in positions)))
    torch.testing.assert_close(many.priors[:9], few.priors, atol=2e-2, rtol=0)
    torch.testing.assert_close(many.values[:9], few.values, atol=2e-2, rtol=0)


def test_sits_down_at_a_board() -> None:
    zero = learner()
    assert isinstance(zero, Plays)
    chosen: Tensor = zero.player(generator=torch.Generator()).choose(GAME.start(3))
    assert chosen.shape == (3,)


def test_past_selves_are_kept_and_saved() -> None:
    zero = learner(keeps=2)
    for step in range(4):
        zero.progress = step / 4
        zero.learn(batch())
    assert zero.past.at == [0.0, 0.5]
    other = learner(keeps=2)
    other.load_state_dict(zero.state_dict())
    assert other.past.at == [0.0, 0.5]
    assert torch.equal(other.past.weights[1]["policy.0.weight"], zero.past.weights[1]["policy.0.weight"])
    assert not torch.equal(zero.past.weights[0]["policy.0.weight"], zero.past.weights[1]["policy.0.weight"])


def test_refuses_what_cannot_be(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"width is 0; a network needs at least 1"):
        PolicyValueNet(shape=(2, 3, 3), actions=9, width=0)
    with pytest.raises(InvalidValue, match=r"lr is -1"):
        learner(lr=-1)
    with pytest.raises(InvalidValue, match=r"the batch is empty"):
        learner().learn(Played(*(field[:0] for field in batch())))
