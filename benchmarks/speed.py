"""The cost of an accelerated gradient, next to other activations and dropout.

    python benchmarks/speed.py
    python benchmarks/speed.py --backend=jax --measure=elementwise --measure=memory
    python benchmarks/speed.py --backend=torch --measure=gpu --json=torch.json

Measures, on every installed backend, each in its own process:

- elementwise: an activation of many values and its gradient;
- training: a training step of the paper's MLPs, of CNNs with and without batch
  normalisation, and of an LSTM;
- inference: a prediction by the same networks;
- gpu: not by default. On JAX or PyTorch, tanh, ReLU and GELU with their gradients, for
  tensors of 65,536 values to 512 MiB created on the device, as a share of the bandwidth
  of a copy; and training steps. Bytes that must move per value of 4 bytes: 16 on JAX,
  which computes value and gradient in one kernel (pre-activation and upstream gradient
  in, value and gradient out); 20 on PyTorch, where the gradient is a second kernel and
  reads a tensor again; 8 for a copy. Takes half a minute to one and a half;
- memory: the peak of a training step beyond its start, on JAX as the compiler reports
  it, elsewhere as the kernel does; and what an activation keeps for its gradient.

The variants of a measurement are timed in turn (A B C A B C ...), so that disturbances
of the machine affect all of them. The output has the medians, and medians and quartiles
of GAAF's time divided by a variant's time in the same round.
"""

import argparse
import ctypes
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from operator import truediv
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow

BACKENDS = ("tensorflow", "tensorflow_xla", "jax", "torch")
MEASUREMENTS = ("elementwise", "training", "inference", "memory")
ON_GPU = ("mlp", "cnn with batch norm", "lstm")
GPU_VALUES = (1 << 16, 1 << 22, 1 << 25, 1 << 27)
BYTES = {"jax": 16, "torch": 20}  # that must move per value
BASES = ("tanh", "relu", "gelu")
VALUES = (1 << 16, 1 << 20, 1 << 23)
_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_SECONDS_A_ROUND = 0.02  # shorter calls are repeated
_FEWEST_ROUNDS = 3

Calls = Mapping[str, Callable[[], Any]]  # by variant


def main() -> None:
    """Measures on each backend and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--backend", action="append", choices=BACKENDS, help="Default: all.")
    add(
        "--measure",
        action="append",
        choices=(*MEASUREMENTS, "gpu"),
        help="Default: all but gpu.",
    )
    add("--json", type=Path, help="File for the measurements.")
    add("--rounds", type=int, default=25, help="Timings of each variant.")
    add("--seconds", type=float, default=25, help="Maximum, for all variants.")
    add(
        "--clock",
        choices=_CLOCKS,
        default="wall",
        help="cpu: processor time of all threads, for a machine shared with others.",
    )
    add("--variants", type=int, help="Number; 2 are plain and GAAF.")
    add("--here", action="store_true", help="Measure in this process (internal).")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options)))
        return
    everything: dict[str, dict[str, Any]] = {}
    for backend in options.backend or BACKENDS:
        for measurement in options.measure or MEASUREMENTS:
            result = in_child(options, backend, measurement)
            if result is None:
                print(f"\n## {backend}, {measurement}: not measured, see above")
                continue
            print(f"\n## {backend}, {measurement}\n")
            print("\n".join(tables(result)), flush=True)
            everything.setdefault(backend, {})[measurement] = result
            if options.json is not None:
                options.json.write_text(json.dumps(everything, indent=1) + "\n")


def in_child(
    options: argparse.Namespace, backend: str, measurement: str
) -> dict[str, Any] | None:
    """Returns the measurements of a separate process, or None if it failed."""
    environment = {**os.environ, "KERAS_BACKEND": backend.partition("_")[0]}
    if measurement == "memory":
        environment["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its allocator frees nothing
    command = [sys.executable, __file__, "--here"]
    command += [f"--backend={backend}", f"--measure={measurement}"]
    command += [f"--rounds={options.rounds}", f"--seconds={options.seconds}"]
    command += [f"--clock={options.clock}"]
    if options.variants:
        command += [f"--variants={options.variants}"]
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, text=True, env=environment
    )
    return None if done.returncode else json.loads(done.stdout.splitlines()[-1])


def tables(found: Mapping[str, Any]) -> list[str]:
    """Returns the measurements as Markdown; ratios are of GAAF to each variant."""
    lines = [found["machine"]]
    for title, by_variant in found["seconds"].items():
        gaaf = by_variant[next(name for name in by_variant if "GAAF" in name)]
        gigabytes = found.get("gigabytes", {}).get(title, {})
        more = (" speed |", "---|") if gigabytes else ("", "")
        lines += [
            f"\n### {title} ({len(gaaf)} rounds)\n",
            f"| variant | ms | GAAF / variant | quartiles |{more[0]}",
            f"|---|---:|---:|---|{more[1]}",
        ]
        for variant, seconds in by_variant.items():
            low, middle, high = statistics.quantiles(map(truediv, gaaf, seconds))
            milliseconds = 1000 * statistics.median(seconds)
            row = f"| {variant} | {milliseconds:.3f} | {middle:.2f} "
            row += f"| {low:.2f} to {high:.2f} |"
            if variant in gigabytes:
                speed = gigabytes[variant] / statistics.median(seconds)
                copy = gigabytes["copy"] / statistics.median(by_variant["copy"])
                row += f" {speed:.0f} GB/s, {speed / copy:.0%} of a copy |"
            lines.append(row)
    for title, sizes in found["bytes"].items():
        lines += [f"\n### {title}\n", "| variant | bytes |", "|---|---:|"]
        lines += [f"| {name} | {size:,.4g} |" for name, size in sizes.items()]
    return lines


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the measurements on a backend, and the machine."""
    import keras

    keras.utils.set_random_seed(0)
    (backend,), (measurement,) = options.backend, options.measure
    jit = backend != "tensorflow"
    found: dict[str, Any] = {"machine": machine(), "seconds": {}, "bytes": {}}
    if measurement == "memory":
        found["bytes"] = dict(weighed(jit))
    seconds = 1.5 if measurement == "gpu" else options.seconds
    for title, calls in timed(measurement, jit, options.variants):
        found["seconds"][title] = in_turn(
            calls, options.rounds, seconds, _CLOCKS[options.clock]
        )
    if measurement == "gpu":
        found["gigabytes"] = dict(moved(backend))
    return found


def moved(backend: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields the gigabytes that must move, by title and variant."""
    for count, base in itertools.product(GPU_VALUES, BASES):
        both = BYTES[backend] * count / 1e9
        sizes = {base: both, f"GAAF {base}": both, "copy": 8 * count / 1e9}
        yield f"{base} and its gradient, {count} values", sizes


def timed(measurement: str, jit: bool, most: int | None) -> Iterator[tuple[str, Calls]]:
    """Yields the measurements of time: a title, and calls by variant."""
    import variants  # next to this file; imports Keras

    on_gpu = measurement == "gpu"
    most = 2 if on_gpu else most
    if measurement in ("elementwise", "gpu"):
        for count, base in itertools.product(GPU_VALUES if on_gpu else VALUES, BASES):
            calls = {
                name: variants.forward_and_backward(function, count, jit)
                for name, function in list(variants.functions(base).items())[:most]
            }
            if on_gpu:
                calls["copy"] = variants.copy(count)
            yield f"{base} and its gradient, {count} values", calls
    kinds = {
        "training": ("training step", variants.training_step),
        "inference": ("prediction", variants.prediction),
        "gpu": ("training step", variants.training_step),
    }
    if measurement in kinds:
        title, call = kinds[measurement]
        for network, batch, makers in variants.networks():
            if on_gpu and network not in ON_GPU:
                continue
            calls = {
                name: call(make, batch, jit)
                for name, make in list(makers.items())[:most]
            }
            yield f"{title}, {network}, batch of {batch}", calls


def in_turn(
    calls: Calls, most: int, seconds: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Times calls in turn, after a warm-up, and returns seconds for each round."""
    from variants import device, wait_for

    on_gpu = device() != "no GPU"  # keep it busy, as in training
    repeats = {}
    seconds_a_round = 0.0
    for name, call in calls.items():
        for _ in range(3):  # the first call compiles
            start = clock()
            wait_for(call())
            once = clock() - start
        repeats[name] = max(1, round(_SECONDS_A_ROUND / once))
        seconds_a_round += once * repeats[name]
    rounds = max(_FEWEST_ROUNDS, min(most, int(seconds / seconds_a_round)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            for _ in range(repeats[name]):
                result = call()
                if not on_gpu:
                    wait_for(result)
            wait_for(result)
            found[name].append((clock() - start) / repeats[name])
    return found


def weighed(jit: bool) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields the measurements of memory: a title, and bytes by variant."""
    import keras
    import variants

    backend = keras.backend.backend()
    for base in BASES if backend != "tensorflow" else ():  # its graphs do not tell
        kept = {
            name: variants.kept_for_backward(function, 1 << 20)
            for name, function in variants.functions(base).items()
        }
        yield f"kept for the gradient of {base}, a value, beside the output", kept
    for network, batch, makers in variants.networks():
        sizes = {
            name: variants.bytes_by_compiler(make, batch)
            if backend == "jax"
            else peak_of(variants.training_step(make, batch, jit))
            for name, make in makers.items()
        }
        yield f"memory of a training step, {network}, batch of {batch}", sizes


def peak_of(call: Callable[[], Any], times: int = 3) -> float:
    """Returns the peak bytes of a call; the least of several calls.

    As the kernel reports them for this process, so they mean the same on all backends.
    Linux only.
    """
    call()
    call()
    peaks = []
    for _ in range(times):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = resident("VmRSS")
        call()
        peaks.append(resident("VmHWM") - before)
    return min(peaks)


def resident(which: str) -> float:
    """Returns the memory of this process in bytes, now or at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return 1024 * float(line.split()[1])
    raise OSError(f"/proc/self/status says nothing of {which}")


def machine() -> str:
    """Returns the versions, processor and threads as text."""
    import keras
    from variants import device

    module = __import__(keras.backend.backend())
    return (
        f"{module.__name__} {module.__version__}, Keras {keras.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} CPUs, which all may use, {device()}"
    )


if __name__ == "__main__":
    main()
