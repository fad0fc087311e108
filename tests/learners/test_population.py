import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from neurarium.data.batches import Batches, Held, epoch_order
from neurarium.learners.population import MemberBatches, Members, Population
from neurarium.parts.bundles import Labelled
from neurarium.running.states import copy_state, difference

SIZES, MEMBERS, ROWS, BATCH = (6, 8, 3), 4, 50, 8
RATES = torch.tensor([0.01, 0.03, 0.1, 0.3])
MOMENTA = torch.tensor([0.0, 0.5, 0.9, 0.95])
DECAYS = torch.tensor([0.0, 1e-4, 1e-3, 1e-2])


def data() -> Labelled:
    inputs = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Labelled(inputs, inputs[:, :3].argmax(1))


def population(rates: torch.Tensor = RATES) -> Population:
    gains = torch.linspace(0.5, 1.5, MEMBERS)
    members = Members(sizes=SIZES, seeds=range(MEMBERS), gains=gains).to(torch.float64)
    return Population(members, lr=rates, momentum=MOMENTA, decay=DECAYS)


def stream() -> MemberBatches:
    rows = [torch.arange(ROWS)] * MEMBERS
    return MemberBatches(data(), rows=rows, seeds=range(MEMBERS), size=BATCH, order=epoch_order)


def test_all_at_once_is_one_by_one() -> None:
    learner, batches = population(), stream()
    alone = [learner.model.alone(member) for member in range(MEMBERS)]
    for _ in range(30):
        learner.learn(next(batches))
    for member, net in enumerate(alone):
        rate, momentum, decay = (float(setting[member]) for setting in (RATES, MOMENTA, DECAYS))
        optimizer = SGD(net.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
        own = Batches(Held(data()), BATCH, seed=member)
        for _ in range(30):
            inputs, labels = next(own)
            optimizer.zero_grad()
            cross_entropy(net(inputs), labels).backward()
            optimizer.step()
        for plain, ours in zip(net.parameters(), learner.model.alone(member).parameters(), strict=True):
            assert torch.allclose(plain, ours, atol=1e-8)


def test_one_member_that_diverges_does_not_end_the_others() -> None:
    wild = RATES.clone()
    wild[1] = 1e30
    calm, troubled = population(), population(wild)
    for learner in (calm, troubled):
        batches = stream()
        for _ in range(20):
            learner.learn(next(batches))
    for member in (0, 2, 3):
        pairs = zip(calm.model.alone(member).parameters(), troubled.model.alone(member).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert [bool(step >= 0) for step in troubled.died] == [False, True, False, False]


def test_stopped_and_resumed_is_the_same() -> None:
    whole, batches = population(), stream()
    for _ in range(5):
        whole.learn(next(batches))
    state, place = copy_state(whole.state_dict()), copy_state(batches.state_dict())
    for _ in range(5):
        whole.learn(next(batches))
    again, later = population(), stream()
    again.load_state_dict(state)
    later.load_state_dict(place)
    for _ in range(5):
        again.learn(next(later))
    assert difference(again.state_dict(), whole.state_dict()) is None
