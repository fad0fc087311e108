"""Simulating neurons: ours in compiled blocks of steps, against Brian2's C++ standalone."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch

from benchmarks.harness import Benchmark
from neurarium.systems.neuro.hodgkin_huxley import HodgkinHuxley

NEURONS, STEPS, DT = 1000, 10_000, 1e-5  # DT in s
STRONGEST = 20.0  # µA/cm²: half of the neurons fire
THREADS = 2

# V in mV, J in µA/cm²; exprel(x) = (e^x − 1)/x. Each side counts spikes.
EQUATIONS = """
dv/dt = (J - 0.3*(v + 54.387) - 120*m**3*h*(v - 50) - 36*n**4*(v + 77))/ms : 1
dn/dt = (an*(1 - n) - bn*n)/ms : 1
dm/dt = (am*(1 - m) - bm*m)/ms : 1
dh/dt = (ah*(1 - h) - bh*h)/ms : 1
an = 0.1/exprel(-(v + 55)/10) : 1
bn = 0.125*exp(-(v + 65)/80) : 1
am = 1/exprel(-(v + 40)/10) : 1
bm = 4*exp(-(v + 65)/18) : 1
ah = 0.07*exp(-(v + 65)/20) : 1
bh = 1/(1 + exp(-(v + 35)/10)) : 1
J : 1
"""


def hodgkin_huxley_ours() -> Callable[[], float]:
    """Exponential Euler in single precision, ten compiled steps a call."""
    torch.set_num_threads(THREADS)
    neuron = HodgkinHuxley(neurons=NEURONS, dt=DT, method="exponential_euler", compiled=True)
    current = torch.linspace(0, STRONGEST, NEURONS).unsqueeze(0)

    def work() -> float:
        neuron.measure_rate(current, seconds=STEPS * DT)
        return NEURONS * STEPS

    return work


def hodgkin_huxley_peer() -> Callable[[], float]:
    """The same in Brian2: built before, then its program run."""
    import brian2
    import numpy as np

    brian2.set_device("cpp_standalone", build_on_run=False)
    brian2.prefs.devices.cpp_standalone.openmp_threads = THREADS
    brian2.prefs.core.default_float_dtype = np.float32
    brian2.defaultclock.dt = DT * brian2.second
    group = brian2.NeuronGroup(
        NEURONS, EQUATIONS, method="exponential_euler", threshold="v > 0", refractory="v > 0", name="neurons"
    )
    group.v = -65
    group.n, group.m, group.h = "an/(an + bn)", "am/(am + bm)", "ah/(ah + bh)"
    group.J = np.linspace(0, STRONGEST, NEURONS)
    counts = brian2.SpikeMonitor(group, record=False)
    brian2.Network(group, counts).run(STEPS * DT * brian2.second)
    folder = tempfile.mkdtemp()
    brian2.device.build(directory=folder, run=False)

    def work() -> float:
        brian2.device.run(directory=folder, with_output=False)
        return NEURONS * STEPS

    return work


def hodgkin_huxley_compiling() -> dict[str, float]:
    """Seconds that the first call takes, with nothing compiled before."""
    code = "from benchmarks.neurons import first_call; print(first_call())"
    fresh = {**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=fresh, capture_output=True, text=True, check=True)
    return {"compile_seconds": float(done.stdout)}


def first_call() -> float:
    """Seconds that the first block of steps takes."""
    torch.set_num_threads(THREADS)
    neuron = HodgkinHuxley(neurons=NEURONS, dt=DT, method="exponential_euler", compiled=True)
    start = time.perf_counter()
    neuron.measure_rate(torch.zeros(1, NEURONS), seconds=neuron.counting.steps * DT)
    return time.perf_counter() - start


def hodgkin_huxley_benchmark() -> Benchmark:
    """1,000 neurons, 10,000 steps, float32."""
    work = (
        f"simulate {NEURONS} Hodgkin–Huxley neurons for {STEPS} steps of {1e3 * DT:g} ms by exponential Euler in "
        f"float32 on {THREADS} threads, counting spikes; compiled before the clock starts on both sides"
    )
    return Benchmark(
        "hodgkin_huxley",
        work,
        "neuron-steps",
        hodgkin_huxley_ours,
        hodgkin_huxley_peer,
        "Brian2 C++ standalone",
        3.0,
        also=hodgkin_huxley_compiling,
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "hodgkin_huxley": hodgkin_huxley_benchmark,
}
