import pytest
import torch
from torch import Tensor

from neurarium.data.augmented import Augmented, Views
from neurarium.data.batches import Held
from neurarium.data.few import Chosen, few_of_each
from neurarium.data.imagesets import HeldPixels, ImageSet
from neurarium.errors import DataError, InvalidValue
from neurarium.parts.bundles import Labelled


def noisy(images: Tensor, *, generator: torch.Generator) -> Tensor:
    return images + torch.rand(images.shape, generator=generator)


def stream(seed: int = 0) -> Augmented:
    held = Held(Labelled(torch.zeros(6, 1, 2, 2), torch.arange(6)))
    return Augmented(held.batches(2, seed=0), noisy, seed=seed)


def test_it_goes_back_to_its_place() -> None:
    one, other = stream(), stream()
    for _ in range(4):
        next(one)
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        mine, theirs = next(one), next(other)
        assert torch.equal(mine.inputs, theirs.inputs)
        assert torch.equal(mine.labels, theirs.labels)


def test_every_batch_and_seed_is_drawn_anew() -> None:
    one = stream()
    drawn = [next(one).inputs, next(one).inputs, next(stream(1)).inputs]
    assert not any(torch.equal(drawn[a], drawn[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_two_views_resume_too() -> None:
    views = Views(stream(), noisy, seed=3)
    first, second = next(views)
    assert not torch.equal(first, second)
    state = views.state_dict()
    wanted = next(views)
    views.load_state_dict(state)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(next(views), wanted, strict=True))


def test_a_foreign_place_is_refused() -> None:
    with pytest.raises(InvalidValue, match="augmented with seed 1, but this stream has 0"):
        stream().load_state_dict(stream(1).state_dict())
    with pytest.raises(InvalidValue, match="counts None augmented batches"):
        stream().load_state_dict({"seed": 0})


def images() -> ImageSet:
    pixels = torch.arange(12, dtype=torch.uint8).reshape(12, 1, 1, 1)
    return ImageSet(HeldPixels(pixels), torch.arange(12) % 3)


def test_few_of_each_class_and_the_others() -> None:
    chosen, others = few_of_each(images().labels, 2, generator=torch.Generator().manual_seed(0))
    assert torch.bincount(images().labels[chosen]).tolist() == [2, 2, 2]
    assert sorted([*chosen.tolist(), *others.tolist()]) == list(range(12))


def test_the_chosen_keep_their_labels_or_get_new_ones() -> None:
    places = torch.tensor([7, 2, 4])
    whole = next(iter(Chosen(images(), places).chunks()))
    assert (whole.inputs * 255).flatten().round().tolist() == [7, 2, 4]
    assert whole.labels.tolist() == [1, 2, 1]
    batch = next(Chosen(images(), places, labels=torch.tensor([0, 1, 0])).batches(3, seed=0))
    assert sorted(zip((batch.inputs * 255).flatten().round().tolist(), batch.labels.tolist(), strict=True)) == [
        (2, 1),
        (4, 0),
        (7, 0),
    ]


def test_too_few_are_refused() -> None:
    with pytest.raises(DataError, match="class number 0 has 4 examples, but 5 of each are asked for"):
        few_of_each(images().labels, 5, generator=torch.Generator())
    with pytest.raises(InvalidValue, match="0 examples of each class are asked for"):
        few_of_each(images().labels, 0, generator=torch.Generator())
    with pytest.raises(DataError, match="no images are left"):
        Chosen(images(), torch.tensor([], dtype=torch.int64))
