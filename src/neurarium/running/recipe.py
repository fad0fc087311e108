"""Recipe and Expect: a page you can run, and what its result must be. Imports no PyTorch.

```python
@recipe(expects=[Expect("test_accuracy", at_least=0.98)], smoke=dict(steps=20), control=dict(shuffle_labels=True))
def lenet(run: Run, *, data: str = "digits", steps: int = 1500) -> Result: ...
```

The signature is the configuration, the docstring the explanation; the decorator holds the promises.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neurarium.errors import InvalidValue, did_you_mean

if TYPE_CHECKING:
    from neurarium.running.run import Result, Run

CHECKS = ("finishes", "repeats", "resumes", "watching", "stateless", "gradients", "refuses", "learns", "exports")
"""The checks of the contract, by name; an exemption names one of them."""


@dataclass(frozen=True)
class Expect:
    """A promise about one measure, at the recipe's default options except those in `given`.

    Args:
        measure: name in the recipe's result.
        at_least: the measure must not be below this.
        at_most: the measure must not be above this.
        above: the measure must be greater than this.
        below: the measure must be less than this.
        equals: the measure must be exactly this.
        seeds: how many seeds `reproduce` runs by default.
        timing: whether it is a measure of time, which does not repeat bit for bit.
        given: options that differ from the defaults.

    >>> Expect("test_accuracy", at_least=0.98).met(0.985)
    True
    >>> Expect("mse", at_most=0.01).bound
    '<= 0.01'
    """

    measure: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    equals: float | None = None
    seeds: int = 3
    timing: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self._rules():
            raise InvalidValue(f"Expect('{self.measure}') has no bound; give at_least, at_most, above, below or equals")

    def _rules(self) -> list[tuple[str, float]]:
        bounds = (
            (">=", self.at_least),
            ("<=", self.at_most),
            (">", self.above),
            ("<", self.below),
            ("==", self.equals),
        )
        return [(sign, bound) for sign, bound in bounds if bound is not None]

    @property
    def bound(self) -> str:
        """The rule as text: `>= 0.98`."""
        return " and ".join(f"{sign} {value:g}" for sign, value in self._rules())

    @property
    def graded(self) -> bool:
        """Whether more (or less) is always better, as of an accuracy, and not a place that must be met."""
        rules = self._rules()
        return len(rules) == 1 and rules[0][0] != "=="

    def merit(self, value: float) -> float:
        """How good a value is, more being better: itself, its negative, or how far outside two bounds it lies.

        >>> Expect("mse", at_most=0.01).merit(0.5), Expect("variance", at_least=0.5, at_most=2.0).merit(2.25)
        (-0.5, -0.25)
        """
        rules = self._rules()
        if self.graded:
            return value if rules[0][0][0] == ">" else -value
        gaps = {
            ">": lambda bound: bound - value,
            "<": lambda bound: value - bound,
            "=": lambda bound: abs(value - bound),
        }
        return -max(0.0, *(gaps[sign[0]](bound) for sign, bound in rules))

    def met(self, value: float) -> bool:
        """Whether the value keeps the promise (NaN does not)."""
        compare: dict[str, Callable[[float, float], bool]] = {
            ">=": lambda a, b: a >= b,
            "<=": lambda a, b: a <= b,
            ">": lambda a, b: a > b,
            "<": lambda a, b: a < b,
            "==": lambda a, b: a == b,
        }
        return all(compare[sign](value, bound) for sign, bound in self._rules())

    def applies(self, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
        """Whether the promise was made for these options.

        >>> Expect("accuracy", at_least=0.9, given={"data": "mnist"}).applies({"data": "digits"}, {"data": "mnist"})
        True
        """
        return {**defaults, **self.given} == dict(options)


@dataclass(frozen=True)
class Recipe:
    """A function that trains, simulates or solves, with what is known of it beforehand.

    Attributes:
        function: takes a `Run` and options, returns a `Result`.
        expects: promises about the result.
        smoke: options of a run of seconds, for the contract.
        control: options of the negative control, under which the first promise must be missed.
        exempt: checks of the contract that do not apply, each with its reason.
        slow: whether the default budget is more than 5 minutes.
    """

    function: "Callable[..., Result]"
    expects: tuple[Expect, ...]
    smoke: Mapping[str, Any]
    control: Mapping[str, Any]
    exempt: Mapping[str, str]
    slow: bool

    @property
    def name(self) -> str:
        """The recipe's name: its function's."""
        return self.function.__name__

    @property
    def defaults(self) -> dict[str, Any]:
        """Every option and its default."""
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults with some options changed.

        Raises:
            InvalidValue: there is no option of that name; the nearest is named.
        """
        defaults = self.defaults
        for option in given:
            if option not in defaults:
                raise InvalidValue(f"{self.name} has no option '{option}'; {did_you_mean(option, defaults)}")
        return {**defaults, **given}

    def __call__(self, run: "Run", /, **options: Any) -> "Result":
        """Run the function itself, inside a run that is already open."""
        return self.function(run, **self.options(options))


def recipe(
    *,
    expects: Sequence[Expect],
    smoke: Mapping[str, Any],
    control: Mapping[str, Any],
    exempt: Mapping[str, str] | None = None,
    slow: bool = False,
) -> "Callable[[Callable[..., Result]], Recipe]":
    """Turn a function into a recipe; the arguments are described at `Recipe`.

    Raises:
        InvalidValue: `smoke`, `control` or a promise names an option that the function does not have, or an exemption
            names a check that does not exist.
    """

    def decorate(function: "Callable[..., Result]") -> Recipe:
        made = Recipe(function, tuple(expects), smoke, control, exempt or {}, slow)
        for options in (smoke, control, *(expect.given for expect in expects)):
            made.options(options)
        for check in made.exempt:
            if check not in CHECKS:
                raise InvalidValue(f"{made.name} is exempt from '{check}'; {did_you_mean(check, CHECKS)}")
        return made

    return decorate
