"""A suite of small runs, run as a user would, for several tests."""

import filelock

from tests.processes import train

GIVEN = {
    "hidden_units": (12, 8),
    "train_examples": 300,
    "epochs": 4,
    "gradient_flow": 2,
}
SEEDS = 2
PRINTED = "suite_printed.txt"
VARIANTS = ("plain", "dropout", "GAAF")
FLAGS = [
    f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
    for name, value in GIVEN.items()
]


def made_in(base):
    """Returns the suite's folder, made by the first process that asks for it.

    The output of train.py is next to it, in `PRINTED`.
    """
    folder = base / "suite_with_report"
    with filelock.FileLock(base / "suite.lock"):
        printed = base / PRINTED
        if not printed.is_file():
            done = train(
                *("--suite=digits", f"--runs={SEEDS}", *FLAGS),
                f"--output_dir={folder}",
                folder=base,
            )
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return folder
