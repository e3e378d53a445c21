"""The command `python -m experiments.report DIRECTORY`."""

import argparse
import os
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Returns what reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="Writes report.html and figures/ into a folder that train.py has "
        "written: of one run, of a suite, or of several seeds.",
    )
    parser.add_argument("directory", type=Path, help="folder of a run or a suite")
    parser.add_argument(
        "--data_dir", help="folder of the prepared data set, if it has moved since"
    )
    parser.add_argument(
        "--records",
        metavar="FILE",
        type=Path,
        help="write compact records of the runs there, with the analyses that a "
        "report has made before, and no report",
    )
    return parser


def main() -> None:
    """Writes the report of the folder that the command line names."""
    command_line = parser()
    arguments = command_line.parse_args()
    if arguments.records is not None and arguments.data_dir is not None:
        command_line.error(
            "--data_dir is of no use with --records, which analyses nothing"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow
    from absl import logging

    logging.set_verbosity(logging.ERROR)  # TensorFlow tells of every function it traces
    from experiments.config import UsageError
    from experiments.records import committed, studies
    from experiments.report import write

    try:
        if arguments.records is not None:
            path = arguments.records.expanduser()
            committed.write(studies.read(arguments.directory), path)
            sys.stdout.write(f"Records: {path}\n")
            return
        path = write(arguments.directory, arguments.data_dir)
    except UsageError as error:
        sys.exit(f"experiments.report: {error}")
    sys.stdout.write(f"Report: {path}\n")


if __name__ == "__main__":
    main()
