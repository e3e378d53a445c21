"""The command `python -m experiments.report FOLDER ...`."""

import argparse
import os
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="Writes report.html and figures/ into a folder that train.py has "
        "written: for one run, a suite, several seeds, or several of these.",
    )
    parser.add_argument(
        "folders",
        metavar="FOLDER",
        nargs="+",
        type=Path,
        help="folder of a run or a suite, or one that contains several",
    )
    parser.add_argument(
        "--output_dir",
        metavar="FOLDER",
        type=Path,
        help="where to write the report; default: the given folder, or the common "
        "parent of several",
    )
    parser.add_argument(
        "--data_dir",
        metavar="FOLDER",
        help="folder of the prepared data set, if it has moved",
    )
    parser.add_argument(
        "--records",
        metavar="FILE",
        type=Path,
        help="write compact records of the runs to this file, with the analyses of an "
        "earlier report, and no report",
    )
    return parser


def main() -> None:
    """Writes the report of the folders on the command line."""
    command_line = parser()
    arguments = command_line.parse_args()
    for flag in ("data_dir", "output_dir"):
        if arguments.records is not None and getattr(arguments, flag) is not None:
            command_line.error(
                f"--{flag} has no effect with --records, which analyses nothing"
            )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow
    from absl import logging

    logging.set_verbosity(logging.ERROR)  # TensorFlow reports every traced function
    from experiments.config import UsageError
    from experiments.records import committed, studies
    from experiments.report import write

    try:
        if arguments.records is not None:
            path = arguments.records.expanduser()
            committed.write(studies.read(*arguments.folders), path)
            sys.stdout.write(f"Records: {path}\n")
            return
        path = write(arguments.folders, arguments.data_dir, arguments.output_dir)
    except UsageError as error:
        sys.exit(f"experiments.report: {error}")
    sys.stdout.write(f"Report: {path}\n")


if __name__ == "__main__":
    main()
