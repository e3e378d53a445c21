"""Writes docs/results.md, docs/which.md and docs/results/ from the records here.

    python results/write.py

`page.md` has the words of docs/results.md and, in a block, those of the README and of
docs/index.md; `which.md` those of docs/which.md, `pages/` those of docs/results/. No
number is typed by hand: they follow from the records, which `python -m
experiments.report FOLDER --records=FILE` has made of runs. Where a sentence says more
than the records, nothing is written (`says.py`).
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))  # for drop_in

import claims
import drop_in
import each_rate
import jinja2
import parts
import says
import search
from absl import app
from matplotlib.figure import Figure

from experiments import UsageError
from experiments.report import comparison, measurements, pictures
from gaaf_keras.analysis import figures

DOCS = parts.HERE.parent / "docs"
FRONT = [parts.HERE.parent / "README.md", DOCS / "index.md"]  # with the verdict
IMAGES = DOCS / "images" / "results"
MARK = "<!-- results -->"
SENTENCE = 80  # characters: longer captions of tables are given once a page


def main(arguments: Sequence[str]) -> None:
    """Writes everything again."""
    if len(arguments) > 1:
        sys.exit(f"write.py: unexpected argument {arguments[1]!r}")
    try:
        texts, drawn = pages()
        texts |= {path: with_verdict(path) for path in FRONT}
    except UsageError as error:
        sys.exit(f"write.py: {error}")
    for folder in (IMAGES, DOCS / "results"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
    for name, figure in drawn.items():
        figures.save(figure, IMAGES, name, png=False)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def pages() -> tuple[dict[Path, str], dict[str, Figure]]:
    """Returns the pages by their paths, and their pictures by their names."""
    found: dict[str, Figure] = {}

    def drawn(prefix: str, some: pictures.Pictures, folder: str = "../images") -> str:
        named = {f"{prefix}_{name}": figure for name, figure in some.items()}
        found.update(named)
        return "\n".join(
            f"![{name.replace('_', ' ')}]({folder}/results/{name}.svg)\n"
            for name in named
        )

    behind = sorted((parts.HERE / "pages").glob("*.md"))
    names = {DOCS / "results" / path.name: f"pages/{path.name}" for path in behind}
    names |= {DOCS / "results.md": "page.md", DOCS / "which.md": "which.md"}
    texts = {
        path: _tidied(_template(name).render(drawn=drawn))
        for path, name in names.items()
    }
    return texts, found


def with_verdict(path: Path) -> str:
    """Returns a page with the verdict between the marks."""
    parted = path.read_text(encoding="utf-8").split(MARK)
    if len(parted) != 3:  # noqa: PLR2004
        raise UsageError(f"{path.name} must have '{MARK}' before and after the verdict")
    return MARK.join([parted[0], f"\n{verdict()}", parted[2]])


def verdict() -> str:
    """Returns whether it helps, in three lines."""
    template = _template("page.md")
    return _tidied("".join(template.blocks["verdict"](template.new_context())))


def _template(name: str) -> jinja2.Template:
    """Returns a page to be filled in."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(parts.HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "rates": {base: parts.recorded(name) for base, name in parts.RATES.items()},
        "claims": claims,
        "comparison": comparison,
        "drop_in": drop_in,
        "each_rate": each_rate,
        "measurements": measurements,
        "parts": parts,
        "pictures": pictures,
        "says": says,
        "search": search,
    }
    return environment.get_template(name)


def _tidied(text: str) -> str:
    """Returns Markdown in which nothing is said twice, with single empty lines."""
    lines: list[str] = []
    for line in text.splitlines():
        kept = len(line) < SENTENCE or line.startswith(("|", "**"))
        if kept or line not in lines:
            lines.append(line)
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


if __name__ == "__main__":
    app.run(main)
