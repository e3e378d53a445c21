"""Trains a network with accelerated or plain activations, or a whole table of them.

    python train.py --suite=digits
    python train.py --dataset=mnist --download --activation=gaaf_tanh --runs=5
    python train.py --dataset=cifar10 --model=cnn --batch_norm --activation=gaaf_relu
    python train.py --dataset=mnist --init_from=model.keras --accelerate
    python train.py --dataset=my_images.npz --strategy=mirrored

Prints progress and a table, and writes models, histories and results to
--output_dir. Test data is scored once, at the epoch with the best validation
accuracy.

However it was stopped, the same command with the same --output_dir goes on after the
last epoch that was completed. It ends with the code 0 if all is done; 1 if something
cannot be done, or a single run diverged; 75 if another worker was lost; 128 plus
the number of the signal, such as 143 for SIGTERM and 130 for Ctrl-C.
"""

import datetime
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from absl import app, flags, logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow

FLAGS = flags.FLAGS

_BACKENDS = ("tensorflow", "jax", "torch")
_WORKER_LOST = 75  # what sysexits.h calls a temporary failure
_STOPPED_BY_SIGNAL = 128  # and the number of the signal, as shells have it
SIGNALS = (signal.SIGTERM, signal.SIGINT)  # that end a run

# Names and defaults are those of experiments.TrainingConfig. They are
# repeated here so that --help and mistakes are answered without loading TensorFlow.
TRAINING_FLAGS = [
    flags.DEFINE_string(
        "dataset",
        "digits",
        "digits (bundled, needs no network); a tensorflow-datasets "
        "image-classification data set: mnist, cifar10, cifar100, svhn_cropped, ...; "
        "or a file that numpy.savez wrote, ending in .npz, with x_train, y_train, "
        "x_test and y_test.",
    ),
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of the prepared tensorflow-datasets data. "
        "By default ~/tensorflow_datasets or $TFDS_DATA_DIR.",
    ),
    flags.DEFINE_bool("download", False, "Download the data set if it is not there."),
    flags.DEFINE_integer(
        "train_examples",
        None,
        "Train on so many examples only. By default on all that are not held out "
        "for validation.",
        lower_bound=1,
    ),
    flags.DEFINE_bool(
        "augment",
        None,
        "Flip and shift the training images. By default for CIFAR only.",
    ),
    flags.DEFINE_string(
        "init_from",
        None,
        "Start from the model in this .keras file, instead of a new one. It gets raw "
        "pixels, from 0 to 255, and must return logits or a softmax.",
    ),
    flags.DEFINE_bool(
        "accelerate", False, "Accelerate the activations of the model in --init_from."
    ),
    flags.DEFINE_enum("model", "mlp", ["mlp", "cnn"], "The network."),
    flags.DEFINE_list(
        "hidden_units", "512,256,256", "Widths of the hidden layers of the mlp."
    ),
    flags.DEFINE_integer(
        "width", 64, "Channels of the first stage of the cnn.", lower_bound=1
    ),
    flags.DEFINE_string(
        "activation",
        "gaaf_tanh",
        "The hidden activation: tanh, relu, sigmoid, elu, gelu, silu, ... or, "
        "accelerated, gaaf_tanh, gaaf_relu, gaaf_sigmoid, ...",
    ),
    flags.DEFINE_string(
        "shape_function",
        None,
        "Shape function of accelerated activations: gaussian, shifted_sigmoid, "
        "constant, b_silu, nelu, helu, leaky, straight_through, one_sided or "
        "from_derivative, with parameters as in 'gaussian(width=3)' and "
        "'one_sided(shifted_sigmoid)'. By default that of the "
        "activation.",
    ),
    flags.DEFINE_float(
        "strength", 1.0, "Factor on the shape function.", lower_bound=0.0
    ),
    flags.DEFINE_bool(
        "unit_gain",
        None,
        "Scale accelerated derivatives down to the largest of the plain activation. "
        "By default with --accelerate only.",
    ),
    flags.DEFINE_float(
        "frequency",
        None,
        "The paper's literal formula with a sawtooth of so many teeth a unit. By "
        "default its limit, the exact gradient.",
    ),
    flags.DEFINE_enum(
        "acceleration_schedule",
        "constant",
        ["constant", "linear", "cosine", "warm_up"],
        "How the strength changes over --epochs: constant, down to 0, or up from 0 in "
        "the first tenth.",
    ),
    flags.DEFINE_float(
        "dropout",
        0.0,
        "Dropout rate, from 0 (none) to below 1.",
        lower_bound=0.0,
        upper_bound=1.0,
    ),
    flags.DEFINE_bool(
        "batch_norm", False, "Batch normalisation before each hidden activation."
    ),
    flags.DEFINE_bool(
        "sync_batch_norm",
        True,
        "With several replicas, normalise over the global batch, as on one device, and "
        "not over each replica's share.",
    ),
    flags.DEFINE_enum(
        "optimizer",
        "sgd",
        ["sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "lion"],
        "The optimizer; momentum and nesterov are sgd with momentum 0.9.",
    ),
    flags.DEFINE_list(
        "learning_rate",
        "0.1",
        "The step size. Several, separated by commas, are all tried; the one with the "
        "best validation accuracy is chosen.",
    ),
    flags.DEFINE_bool(
        "scale_learning_rate", False, "Multiply the step size by batch_size / 128."
    ),
    flags.DEFINE_enum(
        "learning_rate_schedule",
        "constant",
        ["constant", "cosine", "step"],
        "How the step size changes over --epochs: constant, down to 0 in a half "
        "cosine, or a tenth after half and a hundredth after three quarters.",
    ),
    flags.DEFINE_integer(
        "warm_up_epochs",
        0,
        "Let the step size rise over so many epochs first.",
        lower_bound=0,
    ),
    flags.DEFINE_float(
        "weight_decay",
        0.0,
        "Share of the weights taken off in each step, times the step size.",
        lower_bound=0.0,
    ),
    flags.DEFINE_float(
        "label_smoothing",
        0.0,
        "Share of each label given to all classes evenly.",
        lower_bound=0.0,
        upper_bound=1.0,
    ),
    flags.DEFINE_integer(
        "batch_size",
        128,
        "Global batch: examples a step, over all replicas.",
        lower_bound=1,
    ),
    flags.DEFINE_integer("epochs", 100, "Most epochs to train.", lower_bound=1),
    flags.DEFINE_integer(
        "patience",
        15,
        "Stop after so many epochs without a better validation accuracy.",
        lower_bound=1,
    ),
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of weights, shuffling, dropout and augmentation.",
        lower_bound=0,
    ),
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one_device", "mirrored", "multi_worker"],
        "Devices: one, all of this machine, or all of several machines that TF_CONFIG "
        "or Slurm describe. auto takes those if they are described, and all GPUs of "
        "this machine if there are several.",
    ),
    flags.DEFINE_integer(
        "logical_devices",
        None,
        "Split the GPU or CPU into so many devices, to try --strategy=mirrored.",
        lower_bound=1,
    ),
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Dtype policy of a new model.",
    ),
    flags.DEFINE_enum(
        "jit_compile",
        "auto",
        ["auto", "true", "false"],
        "Compile the training step with XLA; auto is Keras's choice on a GPU, and no "
        "on a CPU.",
    ),
    flags.DEFINE_bool(
        "deterministic",
        False,
        "Compute the same weights to the last bit from the same seed on one device, "
        "interrupted or not, if need be more slowly.",
    ),
    flags.DEFINE_integer(
        "gradient_flow",
        100,
        "Measure the gradient in each layer every so many steps, 0 for never.",
        lower_bound=0,
    ),
    flags.DEFINE_bool(
        "histograms",
        False,
        "Write histograms of pre-activations, correlations and weights for "
        "TensorBoard.",
    ),
    flags.DEFINE_bool(
        "export",
        None,
        "Also write a SavedModel for serving. By default where Keras runs on "
        "TensorFlow, which can.",
    ),
]
_SUITE = flags.DEFINE_enum(
    "suite",
    None,
    [
        *("digits", "mnist", "mnist_rates", "mnist_relu_rates", "cifar10"),
        *("cifar10_rates", "cifar10_batch_norm_rates", "search_tanh_mlp"),
        *("search_tanh_deep", "search_relu_mlp", "search_relu_cnn"),
        *("confirm_tanh_mlp", "confirm_tanh_deep"),
        *("confirm_relu_mlp", "confirm_relu_cnn", "confirm_tanh_cnn"),
        *("cifar100", "svhn"),
    ],
    "Train a whole table instead of one network: tanh, dropout and GAAF in the mlp "
    "(digits, mnist), or ReLU, batch norm and GAAF in the cnn (cifar10, cifar100, "
    "svhn); with _rates, with and without GAAF's larger scale at several learning "
    "rates; with search_, many shapes in a small network; with confirm_, what was "
    "best there. Other flags override the suite's settings.",
)
_RUNS = flags.DEFINE_integer(
    "runs",
    None,
    "Repeat with the seeds seed, seed + 1, ... and report mean and standard deviation. "
    "By default 3 for a suite, else 1.",
    lower_bound=1,
)
_PARALLEL_RUNS = flags.DEFINE_string(
    "parallel_runs",
    "1",
    "Train so many networks of a table at once, each in a process with its share of "
    "the cores; auto: one a core, without a GPU.",
)
_REPORT = flags.DEFINE_bool(
    "report",
    None,
    "Write report.html, with tables and figures of what came out, when all is trained. "
    "By default for a suite.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder for what is written: a new one, or that of the same command to go on with. "
    "By default a new one under runs/.",
)


flags.register_validator(
    _PARALLEL_RUNS,
    lambda value: value == "auto" or (value.isdecimal() and int(value) > 0),
    "must be auto or a whole number from 1",
)


def main(arguments: Sequence[str]) -> None:
    """Trains what the flags say, until that is done or a signal comes."""
    if len(arguments) > 1:
        sys.exit(f"train.py: unexpected argument {arguments[1]!r}; see --help")
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # TensorFlow reports every export
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    output_dir = _OUTPUT_DIR.value or _fresh_folder(_SUITE.value or "training")
    output_dir = str(Path(output_dir).expanduser())  # shells leave --flag=~/x alone
    runs = _RUNS.value or (3 if _SUITE.value else 1)
    try:
        _run(output_dir, runs)
    except BaseException as error:
        interruption = _interruption(error)
        if interruption is None:
            raise
        print(
            f"train.py: stopped by {interruption.signal.name}. Completed epochs are "
            f"saved: the same command, with --output_dir={output_dir}, goes on.",
            file=sys.stderr,
        )
        sys.exit(_STOPPED_BY_SIGNAL + interruption.signal)


class Interrupted(BaseException):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


def _interruption(error: BaseException | None) -> Interrupted | None:
    """Returns the signal behind an error: what is interrupted may fail in ending."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error


def _run(output_dir: str, runs: int) -> None:
    """Trains, and ends with a sentence if that cannot be done."""
    try:
        from experiments import UsageError, WorkerLostError
        from experiments.suites import plans
        from experiments.suites.runs import run
    except ModuleNotFoundError as error:
        if error.name not in _BACKENDS:
            raise
        sys.exit(
            f"train.py: Keras is to run on {error.name}, which is not installed. "
            f"Install it, or set KERAS_BACKEND to what is: {', '.join(_BACKENDS)}."
        )
    try:
        plan = plans.plan(_SUITE.value, _given_fields(), runs)
        last = run(plan, Path(output_dir), _PARALLEL_RUNS.value)
    except UsageError as error:
        sys.exit(f"train.py: {error}")
    except WorkerLostError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(_WORKER_LOST)
    if _REPORT.value or (_SUITE.value and _REPORT.value is None):
        _write_report(output_dir, next(iter(plan.variants.values())))
    alone = last.output_dir == Path(output_dir)
    if alone and last.diverged:
        sys.exit("train.py: the run diverged.")


def _write_report(output_dir: str, config: Any) -> None:
    """Writes the report, or says how to; what was trained is complete either way."""
    from experiments import UsageError, devices

    strategy = devices.get(config)
    command = f"python -m experiments.report {shlex.quote(output_dir)}"
    try:
        if strategy.has_other_processes:  # which would miss this one's sign of life
            if strategy.is_chief:
                print(f"Report: {command}")
            return
        from experiments import report

        print(f"Report: {report.write(output_dir)}")
    except ModuleNotFoundError as error:
        print(
            f"No report: it needs {error.name}. Install it, then: {command}",
            file=sys.stderr,
        )
    except UsageError as error:
        sys.exit(f"train.py: all is trained, but there is no report: {error}")


def _given_fields() -> dict[str, Any]:
    """Returns the training flags given on the command line, as config fields."""
    given = {flag.name: flag.value for flag in TRAINING_FLAGS if flag.present}
    if "hidden_units" in given:
        given["hidden_units"] = _numbers(given, "hidden_units", int, "512,256,256")
    if "learning_rate" in given:
        given["learning_rate"] = _numbers(given, "learning_rate", float, "0.03,0.1")
    return given


def _numbers(
    given: dict[str, Any], name: str, kind: type, example: str
) -> tuple[Any, ...]:
    """Returns a flag's list as numbers, or ends with a sentence."""
    try:
        return tuple(kind(item) for item in given[name])
    except ValueError:
        sort = "whole numbers" if kind is int else "numbers"
        sys.exit(
            f"train.py: --{name} must be {sort} separated by commas, such as "
            f"{example}. Received: {','.join(given[name])}"
        )


def _fresh_folder(name: str) -> str:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return str(Path("runs") / f"{now}-{name}-{os.getpid()}")


if __name__ == "__main__":
    app.run(main)
