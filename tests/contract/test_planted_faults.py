"""The contract itself under test: a right recipe passes every check, and each planted fault fails the check for it."""

from pathlib import Path

import pytest

from neurarium.running.catalogue import read
from neurarium.running.contract import ALL_CHECKS, Finding, check
from neurarium.running.probes import Bench

SOURCE = (Path(__file__).parent / "small.py").read_text()

# name of the fault: (what stands in the recipe, what is planted instead, the check that must fail)
FAULTS = {
    "forgotten zero_grad": ("        self.optimizer.zero_grad()\n", "", "stateless"),
    "a sign flipped": ("loss.backward()", "(-loss).backward()", "learns"),
    "optimiser state dropped at resume": (
        "    def example(self",
        "    def load_state_dict(self, state):\n"
        "        self.model.load_state_dict(state['model'])\n\n"
        "    def example(self",
        "resumes",
    ),
    "a label leaked": (
        "    if shuffle:\n        labels = labels[torch.randperm(POINTS, generator=chance)]\n",
        "    if shuffle:\n        labels = labels[torch.randperm(POINTS, generator=chance)]\n"
        "    inputs[:, 2] = 9.0 * labels\n",
        "learns",
    ),
    "a random state shared with evaluation": (
        "        with torch.no_grad():\n",
        "        torch.rand(1, generator=chance)\n        with torch.no_grad():\n",
        "watching",
    ),
    "a random state shared between runs": (
        "POINTS, PLACES = 400, 6\n",
        "POINTS, PLACES = 400, 6\nCHANCE = torch.Generator().manual_seed(0)\n",
        "repeats",
    ),
    "a stream that forgets its place": ('{"chance": self.chance.get_state()}', "{}", "resumes"),
    "a parameter out of reach": (
        "self.model = nn.Linear(PLACES, 2)",
        "self.model = nn.Linear(PLACES, 2)\n        self.model.spare = nn.Parameter(torch.zeros(1))",
        "gradients",
    ),
    "an empty batch swallowed": (" or len(labels) == 0", "", "refuses"),
    "a misshaped batch unexplained": (
        "inputs.shape[1:] != (PLACES,) or labels.shape != inputs.shape[:1] or ",
        "",
        "refuses",
    ),
    "a promised measure missing": ('{"test_accuracy": float', '{"accuracy": float', "finishes"),
    "nothing to export": ('return {"model": (batch.inputs,)}', "return {}", "exports"),
    "nothing learned": ("        self.optimizer.step()\n", "", "learns"),
    "a stale exemption": (
        "    control=dict(",
        "    exempt={'repeats': 'for no reason'},\n    control=dict(",
        "repeats",
    ),
}

MORE = {
    "an empty batch swallowed": ("cross_entropy(self.model(inputs), labels)", "self.model(inputs).sum()"),
    "a random state shared between runs": ('chance = run.generator("order")', "chance = CHANCE"),
    "a stream that forgets its place": ('self.chance.set_state(state["chance"])', "return"),
}


def planted(source: str, folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(' ', '_')}.py"
    path.write_text(source)
    return path


def finding_of(path: Path, check_name: str) -> Finding:
    (entry,) = read(path)
    return check(Bench(entry, path.parent), check_name)


@pytest.mark.parametrize("name", ALL_CHECKS)
def test_a_right_recipe_passes(name: str, tmp_path: Path) -> None:
    finding = finding_of(planted(SOURCE, tmp_path, f"right_{name}"), name)
    assert finding.outcome == "kept", finding.text


@pytest.mark.parametrize(("promise", "fine"), [("", False), (", Expect('clock', above=0.0, timing=True)", True)])
def test_a_measure_of_time_need_not_repeat_if_it_says_so(promise: str, fine: bool, tmp_path: Path) -> None:
    source = SOURCE.replace("at_least=0.9)", f"at_least=0.9){promise}").replace(
        "run.result(", "run.result(clock=run.seconds, "
    )
    assert finding_of(planted(source, tmp_path, f"clock_{fine}"), "repeats").fine is fine


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_its_check(fault: str, tmp_path: Path) -> None:
    before, after, check_name = FAULTS[fault]
    source = SOURCE
    for old, new in [(before, after), *([MORE[fault]] if fault in MORE else [])]:
        assert old in source
        source = source.replace(old, new)
    finding = finding_of(planted(source, tmp_path, fault), check_name)
    assert not finding.fine, f"{check_name} did not see: {fault}"
    assert len(finding.text) > 20
