import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from neurarium.errors import CheckpointError, InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.schedules import cosine
from neurarium.running.states import copy_state, difference


def batch(count: int = 8) -> Labelled:
    return Labelled(torch.randn(count, 5), torch.randint(3, (count,)))


def test_learning_is_the_plain_loop() -> None:
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    learner = Classify(ours, lr=0.1)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.1)
    for _ in range(20):
        inputs, labels = batch()
        learner.learn(Labelled(inputs, labels))
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(inputs), labels).backward()
        optimizer.step()
    for mine, plain in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, plain, atol=1e-6)


def test_a_data_loader_of_ones_own_will_do() -> None:
    learner = Classify(nn.Linear(5, 3))
    for pair in DataLoader(TensorDataset(*batch(20)), batch_size=5):
        assert learner.learn(Labelled(*pair))["loss"] > 0


def test_evaluation_is_exact_however_it_is_cut_up() -> None:
    learner = Classify(nn.Linear(5, 3))
    inputs, labels = batch(10)
    whole = learner.evaluate([Labelled(inputs, labels)], prefix="test_")
    parts = learner.evaluate([Labelled(inputs[:3], labels[:3]), Labelled(inputs[3:], labels[3:])], prefix="test_")
    assert whole == pytest.approx(parts)
    logits = learner.model(inputs).detach()
    assert whole["test_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert whole["test_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)))


def test_evaluation_leaves_training_mode_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    learner = Classify(model)
    before = copy_state(learner.state_dict())
    learner.evaluate([batch()])
    learner.predict(batch().inputs)
    assert model.training
    assert difference(learner.state_dict(), before) is None


def test_the_schedule_follows_progress() -> None:
    learner = Classify(nn.Linear(5, 3), lr=0.2, schedule=cosine)
    for progress, rate in ((0.0, 0.2), (0.5, 0.1), (1.0, 0.0)):
        learner.progress = progress
        learner.learn(batch())
        assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


@pytest.mark.usefixtures("unchecked")
def test_bad_batches_are_refused_in_words() -> None:
    learner = Classify(nn.Linear(5, 3))
    with pytest.raises(InvalidValue, match="the batch is empty; inputs and labels need at least one example"):
        learner.learn(batch(0))
    with pytest.raises(InvalidValue, match=r"fields of \[8, 7\] examples"):
        learner.learn(Labelled(batch().inputs, batch().labels[:7]))


def test_a_state_of_another_learner_is_refused() -> None:
    small, large = Classify(nn.Linear(5, 3)), Classify(nn.Linear(6, 3))
    with pytest.raises(CheckpointError, match="the saved model does not fit"):
        small.load_state_dict(large.state_dict())
    state = small.state_dict()
    del state["optimizer"]
    with pytest.raises(CheckpointError, match="does not fit Classify: it differs in optimizer"):
        small.load_state_dict(state)


def test_state_is_complete() -> None:
    one, other = Classify(nn.Linear(5, 3), lr=0.1), Classify(nn.Linear(5, 3), lr=0.1)
    for _ in range(3):
        one.learn(batch())
    other.load_state_dict(copy_state(one.state_dict()))
    same = batch()
    one.learn(same)
    other.learn(same)
    assert difference(one.state_dict(), other.state_dict()) is None
