"""Settings of a run that are not the recipe's: how, where and how long. Imports no PyTorch."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from tyro.conf import arg

from neurarium.errors import require


@dataclass(frozen=True)
class Settings:
    """What `train` takes beside the recipe's own options."""

    seed: Annotated[int, arg(help="where chance begins; the same seed gives the same bits")] = 0
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], arg(help="where to compute")] = "auto"
    precision: Annotated[
        Literal["float32", "bfloat16", "auto"],
        arg(help="of products; auto takes bfloat16 where the processor and the network gain by it"),
    ] = "float32"
    compile: Annotated[bool, arg(help="compile the networks with torch.compile (seconds once, then faster or not)")] = (
        False
    )
    minutes: Annotated[float | None, arg(metavar="FLOAT", help="learn for so long, instead of a number of steps")] = (
        None
    )
    save_seconds: Annotated[float, arg(help="seconds between two checkpoints; 0 saves after every step")] = 30.0
    threads: Annotated[int | None, arg(metavar="INT", help="CPU threads (default: PyTorch's choice)")] = None

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"--seed is {self.seed}; it must be 0 or more")
        require(self.save_seconds >= 0, f"--save-seconds is {self.save_seconds}; it must be 0 or more")
        require(self.minutes is None or self.minutes > 0, f"--minutes is {self.minutes}; it must be positive")
        require(self.threads is None or self.threads > 0, f"--threads is {self.threads}; it must be positive")

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, for run.json."""
        return asdict(self)
