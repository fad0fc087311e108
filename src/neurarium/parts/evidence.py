r"""Evidence: where in a picture a classifier found what speaks for a class.

The maps before the features still have places. How much each map matters for a class is the slope of the class's logit
along it; the maps weighed by that and summed light up where the evidence stood.

Source: CSE 151B, Visualizing Convolutional Networks; Selvaraju et al. 2017, Grad-CAM, eq. 1 and 2.
Shapes: B batch, C channels, H height, W width, M maps, h and w places.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate, relu

from neurarium.parts.encoders import Classifier, Encoder
from neurarium.parts.modes import evaluating


def weighed(maps: Float[Tensor, "B M h w"], slopes: Float[Tensor, "B M h w"]) -> Float[Tensor, "B h w"]:
    """The maps, each weighed by its mean slope, summed; what speaks against the class is left out.

    >>> weighed(torch.ones(1, 2, 1, 1), torch.tensor([[[[3.0]], [[-1.0]]]]))
    tensor([[[2.]]])
    """
    # α_m = (1/hw) Σ_ij ∂a_k/∂A_mij
    weight = slopes.mean((2, 3), keepdim=True)
    # L = ReLU(Σ_m α_m A_m)
    return relu((weight * maps).sum(1))


def evidence(
    classifier: Classifier[Encoder], images: Float[Tensor, "B C H W"], classes: Int64[Tensor, " B"]
) -> Float[Tensor, "B H W"]:
    """How much each place of an image speaks for a class, from 0 to 1 (all 0 where nothing does).

    Args:
        classifier: in evaluation mode or not; it is left as it was, without gradients.
        images: to look at.
        classes: the class asked about, for each.
    """
    with evaluating(classifier), torch.enable_grad():
        seen = classifier.encoder.look(images.detach().requires_grad_())
        logits = classifier.judge(seen.features)
        asked = logits.gather(1, classes.unsqueeze(1)).sum()
        (slopes,) = torch.autograd.grad(asked, seen.maps)
    heat = weighed(seen.maps.detach(), slopes).unsqueeze(1)
    heat = interpolate(heat, size=images.shape[2:], mode="bilinear").squeeze(1)
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)
