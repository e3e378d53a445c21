"""Trains a network with accelerated or plain activations, or a whole table of networks.

    python train.py --suite=digits
    python train.py --dataset=mnist --download --activation=gaaf_tanh --runs=5
    python train.py --dataset=cifar10 --model=cnn --batch_norm --activation=gaaf_relu
    python train.py --dataset=mnist --init_from=model.keras --accelerate
    python train.py --dataset=my_images.npz --strategy=mirrored

Prints progress and a table, and writes models, histories and results to
--output_dir. Test data is scored once, at the epoch with the best validation
accuracy.

After any interruption, the same command with the same --output_dir resumes from the end
of an epoch. It loses the current epoch and at most half a minute of earlier ones. Exit
code: 0 if everything is done; 1 if something cannot be done, or a single run diverged;
75 if another worker was lost; 128 plus the number of the signal, such as 143 for
SIGTERM, 130 for Ctrl-C and 142 for the end of --time_limit.
"""

import datetime
import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from absl import app, flags, logging

from experiments import TrainingConfig, UsageError, WorkerLostError, deadline
from experiments import flags as setting_flags
from experiments.config import explained
from experiments.suites import plans
from experiments.suites.catalogue import SUITES

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow
# Before NumPy: otherwise its threads and the backend's wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_WORKER_LOST = 75  # a temporary failure in sysexits.h
_STOPPED_BY_SIGNAL = 128  # plus the number of the signal, as in shells
# These end a run; the last when its time is up.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)

SETTINGS = setting_flags.define()
flags.adopt_module_key_flags(setting_flags)  # otherwise --help leaves them out
SUITE = flags.DEFINE_enum(
    "suite",
    None,
    list(plans.NAMES),
    "Train a whole table instead of one network; other flags override its settings. "
    "compare: plain and accelerated, for any --dataset, and --model or --init_from. "
    + " ".join(f"{name}: {suite.title}." for name, suite in SUITES.items()),
)
RUNS = flags.DEFINE_integer(
    "runs",
    None,
    "Number of runs, using consecutive seeds, starting at --seed, to show mean and "
    "standard deviation. Default: 3 for a suite, otherwise 1.",
)
PARALLEL_RUNS = flags.DEFINE_string(
    "parallel_runs",
    "1",
    "Number of networks of a table to train at once, each in a process with its share "
    "of the cores. auto: one per core without a GPU, one with a GPU.",
)
RUNS_AT_ONCE = flags.DEFINE_string(
    "runs_at_once",
    "auto",
    "Number of networks of a table that differ only in numbers (seed, learning rate, "
    "weight decay, dropout rate, strength) to train at once as one program, with Keras "
    "on JAX. auto: 1 on a CPU; on an accelerator, as many as pay off.",
)
for holder in (PARALLEL_RUNS, RUNS_AT_ONCE):
    flags.register_validator(
        holder,
        lambda value: value == "auto" or (value.isdecimal() and int(value) > 0),
        "must be auto or a whole number, 1 or greater",
    )
REPORT = flags.DEFINE_bool(
    "report",
    None,
    "Write report.html, with tables and figures of the results, after all runs have "
    "finished. Default: only for a suite.",
)
TIME_LIMIT = flags.DEFINE_float(
    "time_limit",
    None,
    "Stop within this many seconds: no epoch starts that would end later, completed "
    "epochs are saved, and the same command resumes. Default: no limit.",
    lower_bound=1.0,
)
OUTPUT_DIR = flags.DEFINE_string("output_dir", None, explained("output_dir"))


def main(arguments: Sequence[str]) -> None:
    """Trains what the flags say, until it is done or a signal arrives."""
    if len(arguments) > 1:
        sys.exit(f"train.py: unexpected argument {arguments[1]!r}; see --help")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # TensorFlow reports every export
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    output_dir = OUTPUT_DIR.value or _fresh_folder(SUITE.value or "run")
    output_dir = str(Path(output_dir).expanduser())  # shells leave --flag=~/x alone
    try:
        with deadline.limit(TIME_LIMIT.value):
            _run(output_dir)
    except BaseException as error:
        interruption = _interruption(error)
        if interruption is None:
            raise
        print(
            f"train.py: stopped by {_cause(interruption.signal)}. The same command "
            f"with --output_dir={output_dir} resumes from the last saved epoch.",
            file=sys.stderr,
        )
        sys.exit(_STOPPED_BY_SIGNAL + interruption.signal)


class Interrupted(BaseException):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def _cause(number: signal.Signals) -> str:
    return "the time limit" if number == signal.SIGALRM else number.name


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


def _interruption(error: BaseException | None) -> Interrupted | None:
    """Returns the signal behind an error: interrupted code may fail while ending."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error


def plan_of_flags() -> plans.Plan:
    """Returns the plan of the flags; imports neither Keras nor a backend."""
    runs = (3 if SUITE.value else 1) if RUNS.value is None else RUNS.value
    return plans.plan(SUITE.value, setting_flags.given(SETTINGS), runs)


def _run(output_dir: str) -> None:
    """Trains, and exits with a sentence if that cannot be done."""
    try:
        plan = plan_of_flags()
        plans.require_files(plan)
        try:
            import gaaf_keras  # noqa: F401  it says what is wrong with the backend
            from experiments.suites.runs import run
        except ImportError as error:
            if error.name != "keras":
                raise
            raise UsageError(str(error)) from error
        gc.freeze()  # collections after each run skip imported objects
        results = run(plan, Path(output_dir), PARALLEL_RUNS.value, RUNS_AT_ONCE.value)
    except UsageError as error:
        sys.exit(f"train.py: {error}")
    except WorkerLostError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(_WORKER_LOST)
    if REPORT.value or (SUITE.value and REPORT.value is None):
        _write_report(output_dir, next(iter(plan.variants.values())))
    if len(results) == 1 and results[0].diverged:
        sys.exit("train.py: the run diverged.")


def _write_report(output_dir: str, config: TrainingConfig) -> None:
    """Writes the report, or says how to; the runs are complete either way."""
    from experiments import devices

    strategy = devices.get(config)
    command = f"python -m experiments.report {shlex.quote(output_dir)}"
    try:
        if strategy.has_other_processes:  # they would time out on this one
            if strategy.is_chief:
                print(f"Report: {command}")
            return
        from experiments import report

        print(f"Report: {report.write(output_dir)}")
    except ModuleNotFoundError as error:
        print(
            f"No report: it needs {error.name}. Install it, then run: {command}",
            file=sys.stderr,
        )
    except UsageError as error:
        sys.exit(f"train.py: training is complete, but there is no report: {error}")


def _fresh_folder(name: str) -> str:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return str(Path("runs") / f"{now}-{name}-{os.getpid()}")


if __name__ == "__main__":
    try:
        app.run(main)
    except SystemExit as end:
        if end.code in {_STOPPED_BY_SIGNAL + number for number in SIGNALS}:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(end.code))  # threads that compile would outlast the limit
        raise
