import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import gelu, unfold

from neurarium.errors import InvalidValue
from neurarium.parts.encoders import Classifier
from neurarium.parts.evidence import evidence
from neurarium.parts.patches import cut
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.vit import ViT, Weights, class_attention, rollout

NAMES = {
    "self_attn.out_proj": "attention.output",
    "linear1": "feed.inner",
    "linear2": "feed.outer",
    "norm1": "attention_norm",
    "norm2": "feed_norm",
}
"""Parts of a block, as torch.nn.TransformerEncoderLayer calls them and as we do."""


class Published(nn.Module):
    """The same net from torch.nn: a strided convolution cuts, nn.TransformerEncoder does the rest."""

    def __init__(self, ours: Classifier[ViT], *, hidden: int) -> None:
        super().__init__()
        encoder = ours.encoder
        patch, width = encoder.patches.patch, encoder.width
        heads = encoder.layers[0].attention.heads
        layer = nn.TransformerEncoderLayer(width, heads, hidden, 0.0, gelu, batch_first=True, norm_first=True)
        self.cut = nn.Conv2d(encoder.shape[0], width, patch, stride=patch)
        norm = nn.LayerNorm(width)
        self.body = nn.TransformerEncoder(layer, len(encoder.layers), norm=norm, enable_nested_tensor=False)
        self.class_token = nn.Parameter(encoder.class_token.detach().clone())
        self.positions = nn.Parameter(encoder.positions.detach().clone())
        self.head = nn.Linear(width, ours.head.out_features)
        self.load_state_dict(translated(ours, patch=patch))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.cut(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), 1, -1), patches], 1) + self.positions
        return self.head(self.body(tokens)[:, 0])


def translated(ours: Classifier[ViT], *, patch: int, gradients: bool = False) -> dict[str, Tensor]:
    """Our parameters, or their gradients, under the names of torch.nn."""
    own = {name: value.grad if gradients else value.detach() for name, value in ours.named_parameters()}
    assert all(value is not None for value in own.values())
    found = {name: value for name, value in own.items() if value is not None}
    weight = found["encoder.patches.project.weight"]
    made = {
        "cut.weight": weight.view(weight.shape[0], -1, patch, patch),
        "cut.bias": found["encoder.patches.project.bias"],
        "class_token": found["encoder.class_token"],
        "positions": found["encoder.positions"],
    }
    for kind in ("weight", "bias"):
        made |= {f"head.{kind}": found[f"head.{kind}"], f"body.norm.{kind}": found[f"encoder.norm.{kind}"]}
        for place in range(len(ours.encoder.layers)):
            block, layer = f"encoder.blocks.{place}", f"body.layers.{place}"
            packed = [found[f"{block}.attention.{part}.{kind}"] for part in ("query", "memory")]
            made[f"{layer}.self_attn.in_proj_{kind}"] = torch.cat(packed)
            for theirs, mine in NAMES.items():
                made[f"{layer}.{theirs}.{kind}"] = found[f"{block}.{mine}.{kind}"]
    return made


@pytest.mark.parametrize(("shape", "patch"), [((1, 8, 8), 2), ((3, 8, 12), 4)])
def test_same_weights_same_outputs_and_gradients_as_torch(shape: tuple[int, int, int], patch: int) -> None:
    torch.manual_seed(0)
    ours = Classifier(ViT(shape=shape, patch=patch, width=12, heads=3, depth=3, hidden=20), classes=5)
    theirs = Published(ours, hidden=20)
    images = torch.rand(4, *shape)
    assert torch.allclose(ours(images), theirs(images), atol=1e-5)
    ours(images).logsumexp(1).sum().backward()
    theirs(images).logsumexp(1).sum().backward()
    wanted = translated(ours, patch=patch, gradients=True)
    for name, parameter in theirs.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(wanted.pop(name), parameter.grad, atol=1e-5)
    assert not wanted


@given(channels=st.integers(1, 3), high=st.integers(1, 4), wide=st.integers(1, 4), patch=st.integers(1, 4))
def test_patches_are_those_of_unfold(channels: int, high: int, wide: int, patch: int) -> None:
    images = torch.rand(2, channels, high * patch, wide * patch)
    assert torch.equal(cut(images, patch), unfold(images, patch, stride=patch).transpose(1, 2))


def test_the_large_net_has_the_published_parameters() -> None:
    with torch.device("meta"):
        net = Classifier(ViT(shape=(3, 224, 224), patch=16, width=768, depth=12, heads=12), classes=1000)
    assert sum(parameter.numel() for parameter in net.parameters()) == 86_567_656  # timm's vit_base_patch16_224


def test_the_last_block_looks_from_the_class_token_as_the_attention_shows() -> None:
    torch.manual_seed(0)
    net, images = ViT(shape=(1, 8, 8), width=8, heads=2, depth=2), torch.rand(3, 1, 8, 8)
    weights = net.attention(images)
    assert [tuple(block.heads.shape) for block in weights] == [(3, 2, 17, 17)] * 2
    assert torch.allclose(weights[-1].heads.sum(-1), torch.ones(3, 2, 17))
    tokens = net.layers[0](net.embed(images))
    assert torch.allclose(net.layers[1].look(tokens).weights, weights[1].heads, atol=1e-6)
    assert torch.allclose(net.norm(net.layers[1](tokens))[:, 0], net(images), atol=1e-6)
    assert torch.equal(class_attention(weights[-1], net.grid).flatten(2), weights[-1].heads[:, :, 0, 1:])


def test_without_positions_it_does_not_matter_where_a_patch_is() -> None:
    torch.manual_seed(0)
    net, images = ViT(shape=(1, 4, 8), width=8, heads=2, depth=2), torch.rand(2, 1, 4, 8)
    mirrored = torch.cat([images[..., 4:], images[..., :4]], 3)  # whole patches change places
    assert not torch.allclose(net(images), net(mirrored), atol=1e-4)
    nn.init.zeros_(net.positions)
    assert torch.allclose(net(images), net(mirrored), atol=1e-6)


@settings(deadline=None)
@given(blocks=st.integers(1, 4), seed=st.integers(0, 99))
def test_rollout_shares_out_what_it_has(blocks: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = [Weights(torch.rand(2, 3, 5, 5, generator=generator).softmax(-1)) for _ in range(blocks)]
    flow = rollout(weights, (2, 2))
    assert flow.shape == (2, 2, 2)
    assert bool((flow >= 0).all())
    # What does not come from patches is the class token's own, of which at least ½ stays in every block.
    assert bool((flow.sum((1, 2)) <= 1 - 0.5**blocks + 1e-5).all())
    wanted = torch.eye(5).expand(2, 5, 5)
    for block in weights:
        wanted = (block.heads.mean(1) + torch.eye(5)) / 2 @ wanted
    assert torch.allclose(flow.flatten(1), wanted[:, 0, 1:])


def test_its_maps_are_what_the_features_are_made_from() -> None:
    torch.manual_seed(0)
    net = Classifier(ViT(shape=(1, 8, 12), width=8, heads=2, depth=2), classes=3)
    assert net.encoder.look(torch.rand(2, 1, 8, 12)).maps.shape == (2, 8, 4, 6)
    heat = evidence(net, torch.rand(2, 1, 8, 12), torch.tensor([0, 1]))
    assert heat.shape == (2, 8, 12)
    assert bool((heat > 0).any())


def test_it_is_named_on_the_command_line() -> None:
    encoder = build_encoder("vit:patch=4,width=24,depth=2,residual=rezero,norm=none", shape=(3, 32, 32))
    assert isinstance(encoder, ViT)
    assert (encoder.width, len(encoder.layers), encoder.grid) == (24, 2, (8, 8))
    tokens = encoder.embed(torch.rand(2, 3, 32, 32))
    assert torch.equal(encoder.layers[1](encoder.layers[0](tokens)), tokens)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    wanted = "images are 28×30 pixels, which patches of 4 do not divide; take patch=1 or 2, or images of another size"
    with pytest.raises(InvalidValue, match=wanted):
        ViT(shape=(1, 28, 30))
    with pytest.raises(InvalidValue, match="images are 8×8 pixels; ViT needs at least 16×16"):
        ViT(shape=(1, 8, 8), patch=16)
    with pytest.raises(InvalidValue, match="patch is -2; a patch has at least 1 pixel a side"):
        ViT(shape=(1, 8, 8), patch=-2)
    with pytest.raises(InvalidValue, match="depth is 0; a transformer has at least 1 block"):
        ViT(shape=(1, 8, 8), depth=0)
    with pytest.raises(InvalidValue, match="heads is 5, but must divide the width 64"):
        ViT(shape=(1, 8, 8), heads=5)
    with pytest.raises(InvalidValue, match="residual is 'rezro'; did you mean 'rezero'"):
        ViT(shape=(1, 8, 8), residual="rezro")
    with pytest.raises(InvalidValue, match=r"images are \(3, 8, 8\), but this ViT was built for \(1, 8, 8\)"):
        ViT(shape=(1, 8, 8))(torch.zeros(2, 3, 8, 8))
    with pytest.raises(InvalidValue, match="there are no blocks; a rollout goes through at least one"):
        rollout([], (2, 2))
