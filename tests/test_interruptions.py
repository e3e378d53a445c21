"""Real processes that are killed, asked to stop, and restarted."""

import json
import os
import random
import signal
import time
import zipfile

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

import gaaf_keras  # noqa: F401  with which models are loaded
from experiments import deadline
from tests.processes import finished, history, start, train, wait_for_epochs

TRAINING = (
    *("--hidden_units=64,64", "--batch_size=63", "--dropout=0.1", "--deterministic"),
    *("--noexport", "--patience=100"),
)


def outcome(folder):
    """Returns the weights and numbers of a run, without its times."""
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"]
    model = keras.saving.load_model(folder / "model.keras")
    return result, history(folder), [w.tolist() for w in model.get_weights()]


def test_killed_and_stopped_training_is_the_same(tmp_path):
    flags = (*TRAINING, "--epochs=30")
    whole = start(*flags, "--output_dir=whole", folder=tmp_path)
    process = start(*flags, "--output_dir=parts", folder=tmp_path)
    path = tmp_path / "parts" / "history.csv"
    wait_for_epochs(path, 2, process)
    process.kill()
    process.wait()
    process = start(*flags, "--output_dir=parts", folder=tmp_path)
    wait_for_epochs(path, len(history(path.parent)) + 2, process)
    process.send_signal(signal.SIGTERM)
    stopped = finished(process)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in stopped.stderr
    assert "The same command with --output_dir=parts resumes" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (path.parent / "result.json").exists()
    done = train(*flags, "--output_dir=parts", folder=tmp_path)
    assert done.returncode == finished(whole).returncode == 0, done.stderr
    assert "resumed after epoch" in done.stdout
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_a_limit_of_time(tmp_path):
    flags = (*TRAINING, "--epochs=100000", "--patience=100000", "--output_dir=new")
    stopped = train(*flags, "--time_limit=9", folder=tmp_path)
    assert stopped.returncode == 128 + signal.SIGALRM
    assert "stopped by the time limit" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_no_alarm_comes_after_a_limit_of_time():
    with deadline.limit(1000):
        assert deadline.is_near(2000)
        assert not deadline.is_near(500)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert not deadline.is_near(2000)


def test_what_fails_in_ending_hides_no_signal(tmp_path, monkeypatch, capsys):
    import train as script

    file = zipfile.ZipFile(tmp_path / "file.zip", "w")
    part = file.open("part", "w")  # with which the file cannot be closed

    def run(*_):
        with file:
            os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in script.SIGNALS}
    monkeypatch.setattr(script, "_run", run)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
        script.main(script.flags.FLAGS(["train.py", "--output_dir=parts"]))
    for number, handler in before.items():
        signal.signal(number, handler)
    part.close()
    file.close()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path):
    flags = (*TRAINING, "--epochs=150", "--batch_norm", "--optimizer=adam")
    flags = (*flags, "--learning_rate=0.001", "--output_dir=parts")
    folder = tmp_path / "parts"
    epochs = 0
    for _ in range(10):
        process = start(*flags, folder=tmp_path)
        wait_for_epochs(folder / "history.csv", epochs + 1, process)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.wait()
        reached = len(history(folder))
        assert reached > epochs
        # What is complete can be read: history.csv is written before checkpoint.npz.
        with np.load(folder / "checkpoint.npz") as checkpoint:
            description = json.loads(str(checkpoint["description"]))
        assert reached - len(description["history"]) in (0, 1)
        epochs = len(description["history"])
    assert train(*flags, folder=tmp_path).returncode == 0
    done = train(*flags[:-1], "--output_dir=whole", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(folder) == outcome(tmp_path / "whole")
