"""Writes the tables of flags and suites into docs/training.md.

python docs/write_settings.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import train
from experiments.suites import plans
from experiments.suites.catalogue import SUITES

PAGE = Path(__file__).parent / "training.md"


def main():
    PAGE.write_text(page(), encoding="utf-8")


def page():
    """Returns the page with up-to-date tables."""
    text = PAGE.read_text(encoding="utf-8")
    for mark, rows in (("<!-- flags -->", flags()), ("<!-- suites -->", suites())):
        before, _, after = text.split(mark)
        text = f"{before}{mark}\n" + "\n".join(rows) + f"\n{mark}{after}"
    return text


def flags():
    yield "| flag | default | meaning |"
    yield "|---|---|---|"
    for name in (
        *("suite", "runs"),
        *(flag.name for flag in train.SETTINGS),
        *("report", "parallel_runs", "runs_at_once", "time_limit", "output_dir"),
    ):
        flag = train.flags.FLAGS[name]
        choices = getattr(flag.parser, "enum_values", None) or ()
        text = flag.help
        if name == "suite":
            text = "Train one of the [whole tables](#suites); other flags override it."
        elif choices:
            text = text.removeprefix(f"<{'|'.join(choices)}>: ")
            text = f"{', '.join(f'`{each}`' for each in choices)}. {text}"
        yield f"| `--{name}` | {shown(flag.default)} | {text} |"


def shown(default):
    if isinstance(default, bool) or default is None:
        return {True: "on", False: "off", None: ""}[default]
    return f"`{','.join(default) if isinstance(default, list) else default}`"


def suites():
    yield "| suite | runs per seed | contents |"
    yield "|---|---|---|"
    for name, suite in SUITES.items():
        count = len(plans.plan(name, {}, runs=1).variants)
        yield f"| `{name}` | {count} | {suite.title} |"


if __name__ == "__main__":
    main()
