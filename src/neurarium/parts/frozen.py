r"""Frozen: a trained encoder whose weights nothing changes any more, as features for something else to learn on.

Its parameters ask for no gradient, and it stays in evaluation mode whatever is around it, since in training mode a
batch norm would go on averaging and a dropout go on hiding.

Source: Donahue et al. 2014, DeCAF: A deep convolutional activation feature, §3; Yosinski, Clune, Bengio & Lipson 2014,
How transferable are features in deep neural networks?, §2.
Shapes: B batch, C channels, H height, W width, D features.
"""

from copy import deepcopy
from hashlib import sha256
from typing import Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.encoders import Encoded, Encoder

Layer = Literal["features", "maps"]


class Frozen(Encoder):
    """A copy of a trained encoder that never learns; its features are centred and brought to one scale.

    Args:
        encoder: trained; it is copied, and left as it is.
        like: images whose features are to have mean 0 each, and deviation 1 on the whole.
        layer: `features`, the last layer; or `maps`, all places of the last maps, which are more and less abstract.

    Raises:
        InvalidValue: there is no such layer, or no image.

    >>> from torch import ones, rand
    >>> class Mean(Encoder):
    ...     def __init__(self):
    ...         super().__init__(shape=(1, 2, 2), width=1)
    ...         self.scale = nn.Parameter(ones(1))
    ...
    ...     def encode(self, images):
    ...         return Encoded(self.scale * images.mean((2, 3)), images)
    >>> frozen = Frozen(Mean(), like=rand(9, 1, 2, 2))
    >>> any(parameter.requires_grad for parameter in frozen.parameters())
    False
    """

    def __init__(self, encoder: Encoder, *, like: Float[Tensor, "B C H W"], layer: Layer = "features") -> None:
        require(layer in ("features", "maps"), f"layer is '{layer}'; take features or maps")
        require(like.shape[0] >= 1, "there is no image to centre the features on; give at least one")
        encoder = deepcopy(encoder).eval().requires_grad_(False)
        with torch.no_grad():
            seen = flat(encoder.look(like), layer)
        super().__init__(shape=encoder.shape, width=seen.shape[1])
        self.encoder = encoder
        self.layer: Layer = layer
        self.register_buffer("mean", seen.mean(0))
        self.register_buffer("scale", (seen - seen.mean(0)).square().mean().sqrt().clamp(min=1e-6))
        self.mean: Tensor
        self.scale: Tensor

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """What the frozen encoder sees, centred; and its maps as they are."""
        seen = self.encoder.look(images)
        # z = (f − μ) / s
        return Encoded((flat(seen, self.layer) - self.mean) / self.scale, seen.maps)

    def train(self, mode: bool = True) -> Self:
        """Any mode, but the encoder inside stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self


def flat(seen: Encoded, layer: Layer) -> Float[Tensor, "B D"]:
    """A layer of what an encoder saw, as features."""
    return seen.features if layer == "features" else seen.maps.flatten(1)


def digest(module: nn.Module) -> str:
    """A fingerprint of every byte of a module's weights and buffers, wherever and in whatever layout they lie.

    >>> layer = nn.Linear(2, 2)
    >>> before = digest(layer)
    >>> _ = layer.weight.data.add_(1)
    >>> digest(layer) == before
    False
    """
    found = sha256()
    for name, value in module.state_dict().items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
