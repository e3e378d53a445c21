"""Runs train.py as a user does, in a separate process."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "train.py"
SECONDS = 300

# Runs train.py as if some packages were not installed.
WITHOUT = """
import runpy, sys
from importlib.machinery import PathFinder

_, script, hidden, *flags = sys.argv

class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in hidden.split(","):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.argv = [script, *flags]
sys.path.insert(0, script.removesuffix("train.py"))
runpy.run_path(script, run_name="__main__")
"""


def python(*arguments):
    """Runs Python to its end, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(*flags, folder, without="", **environment):
    """Runs train.py to its end."""
    process = start(*flags, folder=folder, without=without, **environment)
    return finished(process)


def start(*flags, folder, without="", **environment):
    """Starts train.py."""
    program = ["-c", WITHOUT, str(SCRIPT), without] if without else [str(SCRIPT)]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )


def finished(process):
    """Waits for a process to end, and returns what it printed."""
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def wait_for_epochs(path, epochs, process):
    """Waits until a history.csv has a number of epochs."""
    deadline = time.monotonic() + SECONDS
    while not path.exists() or len(path.read_text().splitlines()) <= epochs:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def history(folder):
    """Returns the losses and accuracies of a run, one list of numbers per epoch."""
    with (folder / "history.csv").open() as file:
        return [
            [float(row[n]) for n in ("loss", "accuracy", "val_loss", "val_accuracy")]
            for row in csv.DictReader(file)
        ]


def clusters(count):
    """Returns the `TF_CONFIG` of each worker of a cluster on this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return [
        json.dumps(
            {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            }
        )
        for index in range(count)
    ]
