r"""CartPole as batched tensors: a pole stands on a cart that can only be pushed left or right.

Many carts move at once. A step is one of Euler's of 0.02 s; the reward is 1 a step, until the pole leans over by more
than 12° or the cart leaves the track. An episode that is not over after 500 steps is truncated. One that ends is
followed by the next one's start in the same step: the transition tells where the old one ended, `observations` where
the new one begins.

Source: Barto, Sutton & Anderson 1983, Neuronlike adaptive elements; Florian 2007, Correct equations for the dynamics of
the cart-pole system, eq. 23–24 without friction; Gymnasium 1.x, `CartPole-v1`, to which it is held step for step.
Shapes: W carts.  Units: m, m/s, rad, rad/s.
"""

from math import pi
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.bundles import Transitions

# Gymnasium 1.x, envs/classic_control/cartpole.py
GRAVITY = 9.8  # m/s²
MASS_POLE = 0.1  # kg
MASS = 1.0 + MASS_POLE  # kg, cart and pole
LENGTH = 0.5  # m, half the pole's
FORCE = 10.0  # N
TICK = 0.02  # s
TRACK = 2.4  # m, from its middle to either end
LEAN = 12 * 2 * pi / 360  # rad
START = 0.05  # of each number at most, as an episode begins
LIMIT = 500  # steps
NAME = "CartPole-v1"


def moved(state: Float64[Tensor, "W 4"], force: Float64[Tensor, " W"]) -> Float64[Tensor, "W 4"]:
    """Where carts and poles are one tick later.

    Args:
        state: place and speed of the cart, angle and angular velocity of the pole.
        force: on the cart, to the right.

    >>> moved(torch.zeros(1, 4).double(), torch.tensor([10.0]).double()).round(decimals=4).tolist()
    [[0.0, 0.1951, 0.0, -0.2927]]
    """
    sine, cosine, turning = state[:, 2].sin(), state[:, 2].cos(), state[:, 3]
    # Florian 2007, eq. 23: the push and the pole's swing, as an acceleration of the whole
    push = (force + MASS_POLE * LENGTH * turning.square() * sine) / MASS
    # θ̈ = (g sin θ − cos θ · push) / (l (4/3 − m cos² θ / M))
    swing = (GRAVITY * sine - cosine * push) / (LENGTH * (4.0 / 3.0 - MASS_POLE * cosine.square() / MASS))
    # ẍ = push − m l θ̈ cos θ / M
    pull = push - MASS_POLE * LENGTH * swing * cosine / MASS
    return state + TICK * torch.stack((state[:, 1], pull, turning, swing), dim=1)


class CartPole:
    """Carts that move together.

    Args:
        copies: how many.
        generator: where the starts come from; its draws are the same for every device.
        device: where they live.

    Raises:
        InvalidValue: no copies.

    >>> world = CartPole(copies=2, generator=torch.Generator())
    >>> step = world.step(torch.tensor([0, 1]))
    >>> (step.next_states[:, 1] > 0).tolist(), step.rewards.tolist()
    ([False, True], [1.0, 1.0])
    """

    def __init__(self, *, copies: int, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        require(copies >= 1, f"copies is {copies}; a world has at least 1")
        self.actions, self.limit = 2, LIMIT
        self.generator = generator
        self.state = torch.zeros(copies, 4, dtype=torch.float64, device=device)
        self.elapsed = torch.zeros(copies, dtype=torch.int64, device=device)
        self.restart()

    @property
    def observations(self) -> Float[Tensor, "W 4"]:
        """What is seen of each copy."""
        return self.state.float()

    def restart(self) -> None:
        """Every copy begins an episode."""
        self.state = self._begun()
        self.elapsed = torch.zeros_like(self.elapsed)

    def step(self, actions: Int64[Tensor, " W"], /) -> Transitions:
        """Every cart is pushed: left by 0, right by 1."""
        before = self.observations
        after = moved(self.state, FORCE * (2.0 * actions - 1.0).double())
        self.elapsed = self.elapsed + 1
        terminated = (after[:, 0].abs() > TRACK) | (after[:, 2].abs() > LEAN)
        truncated = self.elapsed >= self.limit
        over = terminated | truncated
        # Drawn at every step, so that chance does not depend on who fell.
        self.state = torch.where(over.unsqueeze(1), self._begun(), after)
        self.elapsed = self.elapsed * ~over
        rewards = torch.ones(len(after), device=after.device)
        return Transitions(before, actions, rewards, after.float(), terminated, truncated)

    def _begun(self) -> Float64[Tensor, "W 4"]:
        draws = torch.rand(self.state.shape, generator=self.generator, dtype=torch.float64)
        return (START * (2 * draws - 1)).to(self.state.device)

    def state_dict(self) -> dict[str, Any]:
        """Where every copy stands, and where chance does."""
        chance = self.generator.get_state()
        return {"state": self.state.clone(), "elapsed": self.elapsed.clone(), "generator": chance}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there.

        Raises:
            InvalidValue: the state is of another number of copies.
        """
        saved, copies = len(state["elapsed"]), len(self.elapsed)
        require(saved == copies, f"the saved world has {saved} copies, but this one has {copies}")
        self.state = state["state"].to(self.state.device).clone()
        self.elapsed = state["elapsed"].to(self.state.device).clone()
        self.generator.set_state(state["generator"].cpu())
