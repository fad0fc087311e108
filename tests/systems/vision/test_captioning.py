"""Captioning: teacher forcing and writing are one network, beam 1 is greedy, and nothing is scored teacher-forced."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from neurarium.data.captions import load_captioned
from neurarium.data.vocabulary import END, PAD, START, words_of
from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Captioned
from neurarium.parts.search import beam, greedy
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.captioning import Caption, Captioner, SceneNet, annotate, caption_loss, judge, write_all

B, T, K, S = 3, 6, 11, 8
MARKS = (PAD, START, END)


def captioner() -> Captioner:
    torch.manual_seed(0)
    net = Captioner(SceneNet(shape=(3, 16, 16), maps=4), words=K, hidden=S, embedding=5, attention=6)
    return net.double().eval()


def batch() -> Captioned:
    torch.manual_seed(1)
    captions = torch.randint(4, K, (B, T))
    captions[:, 0] = START
    captions[0, 3:] = torch.tensor([END, PAD, PAD])
    captions[1:, -1] = END
    return Captioned(torch.rand(B, 3, 16, 16).double(), captions)


def by_hand(net: Captioner, image: Tensor, words: list[int]) -> list[Tensor]:
    """Logits word by word for one image, each gate written out."""
    features, maps = net.encoder.look(image.unsqueeze(0))
    places = [
        torch.cat([maps[0, :, row, column], torch.tensor([(2 * row + 1) / 4 - 1, (2 * column + 1) / 4 - 1]).double()])
        for row in range(4)
        for column in range(4)
    ]
    hidden, memory = torch.tanh(net.begin_hidden(features[0])), torch.tanh(net.begin_memory(features[0]))
    context = torch.stack(places).mean(0)
    logits = []
    for word in words:
        inputs = torch.cat([net.embedding.weight[word], context])
        cell = net.cell
        gates = cell.weight_ih @ inputs + cell.bias_ih + cell.weight_hh @ hidden + cell.bias_hh
        enter, keep, new, show = gates.split(S)
        memory = torch.sigmoid(keep) * memory + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(show) * torch.tanh(memory)
        look = net.attention
        scores = torch.stack([look.score(torch.tanh(look.ask(hidden) + look.answer(place)))[0] for place in places])
        shares = scores.exp() / scores.exp().sum()
        context = (shares.unsqueeze(1) * torch.stack(places)).sum(0)
        logits.append(net.readout(torch.cat([hidden, context])))
    return logits


def test_it_is_the_equations_forward_and_gradient() -> None:
    net, (images, captions) = captioner(), batch()
    ours = net(images, captions[:, :-1])
    theirs = torch.stack([torch.stack(by_hand(net, images[row], captions[row, :-1].tolist())) for row in range(B)])
    torch.testing.assert_close(ours, theirs)
    loss = caption_loss(ours, captions[:, 1:], padding=PAD)
    chances = torch.log_softmax(theirs, 2).gather(2, captions[:, 1:, None]).squeeze(2)
    wanted = -chances[captions[:, 1:] != PAD].mean()
    torch.testing.assert_close(loss, wanted)
    leaves = list(net.parameters())
    one, other = torch.autograd.grad(loss, leaves), torch.autograd.grad(wanted, leaves)
    for mine, right in zip(one, other, strict=True):
        torch.testing.assert_close(mine, right)


def test_what_it_writes_is_what_it_would_say_teacher_forced_on_its_own_words() -> None:
    net, (images, _) = captioner(), batch()
    written = Caption(net, marks=MARKS, limit=T).write(images)
    words = torch.cat([torch.full((B, 1), START), written.tokens[:, :-1]], dim=1)
    said = net(images, words).argmax(2)
    before_end = (written.tokens == END).cumsum(1) <= 1
    assert torch.equal(said[before_end], written.tokens[before_end])


def test_beam_one_is_greedy() -> None:
    net, (images, _) = captioner(), batch()
    first = torch.full((B,), START)
    with torch.no_grad():
        one = greedy(net.step, net.begin(images), first, end=END, limit=T)
        other = beam(net.step, net.begin(images), first, end=END, limit=T, width=1).best
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.tokens, Caption(net, marks=MARKS, limit=T, width=1).write(images).tokens)


def test_writing_never_sees_a_true_caption() -> None:
    # Captions of the test images are gone before it writes; only the images reach it.
    images = load_captioned("scenes", seed=0, scenes=20)
    net = Captioner(SceneNet(shape=(3, 32, 32), maps=2), words=len(images.vocabulary), hidden=S)
    learner = Caption(net, marks=MARKS, limit=T)
    before = write_all(learner, images.test.chunks())
    images.test.captions.fill_(PAD)
    images.test.references[:] = [("nothing",)] * len(images.test.references)
    assert write_all(learner, images.test.chunks()) == before
    assert judge([["nothing"]], [[["nothing"], ["else"]]])["exact_match"] == 1.0


def test_where_it_looks_sums_to_one_and_padding_teaches_nothing() -> None:
    net, (images, captions) = captioner(), batch()
    learner = Caption(net, marks=MARKS, limit=T)
    looks = learner.glances(images, learner.write(images).tokens)
    assert looks.shape[2:] == (4, 4)
    torch.testing.assert_close(looks.sum((2, 3)), torch.ones(looks.shape[:2]).double())
    logits = net(images, captions[:, :-1])
    slopes = torch.autograd.grad(caption_loss(logits, captions[:, 1:], padding=PAD), logits)[0]
    assert not slopes[captions[:, 1:] == PAD].any()


def test_looking_and_writing_leave_the_network_as_it_was() -> None:
    net, (images, _) = captioner().train(), batch()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    learner = Caption(net, marks=MARKS, limit=T)
    learner.glances(images, learner.write(images).tokens)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_annotations_know_where_they_are() -> None:
    places = annotate(torch.zeros(1, 1, 2, 2))[0, :, 1:].tolist()
    assert places == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]


def test_any_encoder_will_do() -> None:
    for name in ("captioning:maps=4", "lenet"):
        net = Captioner(build_encoder(name, shape=(3, 24, 24)), words=K)
        assert net(torch.rand(2, 3, 24, 24), torch.ones(2, 4, dtype=torch.int64)).shape == (2, 4, K)


def test_it_learns_a_handful_of_scenes_by_heart() -> None:
    torch.manual_seed(0)
    images = load_captioned("scenes", seed=0, scenes=16, things=1)
    net = Captioner(SceneNet(shape=(3, 32, 32), maps=8), words=len(images.vocabulary), hidden=32)
    learner = Caption(net, marks=MARKS, limit=8, width=2, lr=1e-2)
    for _ in range(60):
        learner.learn(images.train.take(torch.arange(16)))
    written = [images.vocabulary.read(row) for row in write_all(learner, images.train.chunks())]
    true = [[words_of(text) for text in texts] for texts in images.train.references]
    assert judge(written, true)["exact_match"] >= 0.9


def test_a_folder_of_ones_own_pictures(tmp_path: Path) -> None:
    colours = {"red": (220, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 220)}
    lines = []
    for number in range(24):
        name, colour = list(colours.items())[number % 3]
        Image.new("RGB", (30, 20), tuple(max(0, part - number) for part in colour)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,a {name} wall\n")
    (tmp_path / "captions.csv").write_text("".join(lines))
    options = {"data": f"folder:{tmp_path}", "steps": 60, "hidden": 32, "batch": 8, "lr": 1e-2, "beam": 2, "size": 16}
    done = train(find("captioning"), options, Settings(device="cpu", threads=1), out=tmp_path / "runs")
    assert done.result["measures"]["exact_match"] == 1.0


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidValue, match="maps is 0; a convnet needs at least 1"):
        SceneNet(shape=(3, 32, 32), maps=0)
    with pytest.raises(InvalidValue, match="images are 3×3 pixels; SceneNet needs at least 4×4"):
        SceneNet(shape=(3, 3, 3))
    net, (images, captions) = captioner(), batch()
    with pytest.raises(InvalidValue, match="hidden is 0; a captioner needs at least 1"):
        Captioner(net.encoder, words=K, hidden=0)
    learner = Caption(net, marks=MARKS, limit=T)
    with pytest.raises(InvalidValue, match="the batch is empty; images and captions need at least one example"):
        learner.learn(Captioned(images[:0], captions[:0]))
    with pytest.raises(InvalidValue, match=r"the captions are \(3, 1\); they must be rows of tokens with a start"):
        learner.learn(Captioned(images, captions[:, :1]))
    with pytest.raises(InvalidValue, match=r"images are \(3, 16, 8\), but this SceneNet was built for \(3, 16, 16\)"):
        learner.learn(Captioned(images[..., :8], captions))
