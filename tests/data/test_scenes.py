"""Scenes: captions are true of what is drawn, and what is held out never shows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.data.scenes import (
    COLOURS,
    GAP,
    KINDS,
    PAINTS,
    SHAPES,
    Glyphs,
    Scenes,
    What,
    describe,
    held_out_pairs,
    invent,
    load_glyphs,
    paint,
    place,
)
from neurarium.errors import InvalidValue


def some(seed: int, count: int = 300, *, unseen: bool = False, what: What = "mixed") -> Scenes:
    generator = torch.Generator().manual_seed(seed)
    return invent(generator, count=count, held_out=held_out_pairs(seed=seed), unseen=unseen, what=what)


def held_out(scenes: Scenes) -> Tensor:
    """Whether each scene of two shows a pair that is held out."""
    one, other = (scenes.colours * len(KINDS) + scenes.kinds).unbind(1)
    return held_out_pairs(seed=0)[one, other]


def test_training_never_shows_a_held_out_pair_and_every_test_scene_does() -> None:
    train, test = some(0, 4000), some(0, 1000, unseen=True)
    assert not held_out(train)[train.things == 2].any()
    assert held_out(test).all()
    assert (test.things == 2).all()
    seen = {text for texts in describe(train) for text in texts}
    assert not seen & {text for texts in describe(test) for text in texts}
    words = set(" ".join(seen).split())
    assert all(set(text.split()) <= words for texts in describe(test) for text in texts)  # combinations are new alone


@given(seed=st.integers(0, 1000))
def test_things_lie_within_the_picture_apart_and_as_related(seed: int) -> None:
    scenes = some(seed, 100)
    centres, radius = place(scenes, torch.Generator().manual_seed(seed))
    there = (torch.arange(2) < scenes.things.unsqueeze(1)).unsqueeze(2)
    inside = (centres >= radius.unsqueeze(2) - 1e-6) & (centres <= 1 - radius.unsqueeze(2) + 1e-6)
    assert (inside | ~there).all()
    x, y = (centres[:, 1] - centres[:, 0]).unbind(1)  # from the first to the second
    apart = torch.stack([y, -y, x, -x], 1).gather(1, scenes.relations.unsqueeze(1)).squeeze(1)
    across = torch.where(scenes.relations < 2, x, y).abs()
    two = scenes.things == 2
    assert (apart >= radius.sum(1) + GAP - 1e-6)[two].all()
    assert (across < apart)[two].all()


def test_the_second_caption_is_the_first_from_the_other_side() -> None:
    for texts in describe(some(3)):
        assert len(texts) in (1, 2)
        if len(texts) == 2:
            other = {"above": "below", "below": "above", "left": "right", "right": "left"}
            one = texts[0].split()
            relation = one[4:-4]
            assert texts[1].split() == [*one[-4:], other[relation[0]], *relation[1:], *one[:4]]


def test_pixels_have_the_colour_and_reach_that_the_scene_says() -> None:
    every = torch.cartesian_prod(torch.arange(len(SHAPES)), torch.arange(len(COLOURS)), torch.arange(2))
    kinds, colours, sizes = (field.unsqueeze(1).expand(-1, 2) for field in every.unbind(1))
    alone = torch.ones(len(every), dtype=torch.int64)
    scenes = Scenes(kinds, colours, sizes, torch.zeros_like(alone), alone)
    glyphs = Glyphs(torch.zeros(10, 1, 8, 8), torch.arange(10))
    images = paint(scenes, torch.Generator().manual_seed(0), glyphs=glyphs, side=32).float() / 255
    centres, radius = place(scenes, torch.Generator().manual_seed(0))
    middle = (centres[:, 0] * 32).long()
    seen = images[torch.arange(len(every)), :, middle[:, 1], middle[:, 0]]
    nearest = torch.cdist(seen, torch.tensor(PAINTS)).argmin(1)
    assert torch.equal(nearest, every[:, 1])
    bright = ((images - images.flatten(2).median(2).values[..., None, None]).abs().amax(1) > 0.2).sum((1, 2))
    large, small = bright[every[:, 2] == 1].float().mean(), bright[every[:, 2] == 0].float().mean()
    assert large > 2 * small
    assert bool((bright < (2 * 32 * radius[:, 0] + 2) ** 2).all())


def test_the_digit_drawn_is_one_of_its_kind() -> None:
    digits = torch.arange(10)
    glyphs = Glyphs((digits / 10 + 0.1).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous(), digits)
    kinds = (len(SHAPES) + digits).unsqueeze(1).expand(-1, 2)
    white = torch.full_like(kinds, COLOURS.index("white"))
    ones = torch.ones(10, dtype=torch.int64)
    scenes = Scenes(kinds, white, torch.ones_like(kinds), ones, ones)
    images = paint(scenes, torch.Generator().manual_seed(0), glyphs=glyphs, side=64).float()
    brightest = images.flatten(1).quantile(0.99, dim=1)
    assert torch.equal(brightest.argsort(), digits)


def test_digits_to_test_on_were_never_learned_from() -> None:
    train, test = load_glyphs(seed=0), load_glyphs(seed=0, test=True)
    assert len(train.labels) + len(test.labels) == 1797
    assert (torch.cdist(test.images.flatten(1), train.images.flatten(1)).amin(1) > 0).float().mean() > 0.99


def test_only_what_was_asked_for() -> None:
    shapes = (some(0, 4000).kinds < len(SHAPES)).float().mean()
    assert float(shapes) == pytest.approx(0.5, abs=0.03)
    assert {KINDS[kind] for kind in some(0, what="scenes").kinds.flatten().tolist()} == set(SHAPES)
    assert {KINDS[kind] for kind in some(0, what="digits").kinds.flatten().tolist()} == set(KINDS) - set(SHAPES)


@pytest.mark.usefixtures("unchecked")
def test_scenes_that_cannot_be_are_refused() -> None:
    chance, held_out = torch.Generator(), held_out_pairs(seed=0)
    with pytest.raises(InvalidValue, match="the number of scenes is 0, but must be at least 1"):
        invent(chance, count=0, held_out=held_out)
    with pytest.raises(InvalidValue, match="things is 3; a scene shows 1 or 2"):
        invent(chance, count=1, held_out=held_out, things=3)
    with pytest.raises(InvalidValue, match="scenes of 8 pixels a side are too small to read; give at least 24"):
        paint(some(0, 2), chance, glyphs=load_glyphs(seed=0), side=8)
    with pytest.raises(InvalidValue, match="the scenes show digits; give glyphs=load_glyphs"):
        paint(some(0, 9, what="digits"), chance)


def test_shapes_look_the_same_with_and_without_handwriting_at_hand() -> None:
    scenes = some(0, 20, what="scenes")
    one, other = (
        paint(scenes, torch.Generator().manual_seed(1), glyphs=glyphs) for glyphs in (None, load_glyphs(seed=0))
    )
    assert torch.equal(one, other)
