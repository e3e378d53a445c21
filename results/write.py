"""Writes docs/results.md, its pictures and the README's table from the records here.

    python results/write.py

`page.md` has the order and the words. Nothing in the tables and verdicts is typed by
hand: they follow from the records, which `python -m experiments.report FOLDER
--records=FILE` has made of runs.
"""

import re
import sys
from collections.abc import Callable, Sequence

import claims
import jinja2
import parts
import search
from absl import app
from matplotlib.figure import Figure

from experiments import UsageError
from experiments.report import comparison, measurements, pictures
from gaaf_keras.analysis import figures

README = parts.HERE.parent / "README.md"
PAGE = parts.HERE.parent / "docs" / "results.md"
IMAGES = PAGE.parent / "images" / "results"
MARK = "<!-- results -->"
BLOCKS = ("rates", "search")  # of the page, which the README has too


def main(arguments: Sequence[str]) -> None:
    """Writes everything again."""
    if len(arguments) > 1:
        sys.exit(f"write.py: unexpected argument {arguments[1]!r}")
    readme = README.read_text(encoding="utf-8").split(MARK)
    if len(readme) != 3:  # noqa: PLR2004
        sys.exit(f"write.py: README.md must have '{MARK}' before and after the table")
    try:
        text, drawn = page()
        readme[1] = f"\n{in_readme()}"
    except UsageError as error:
        sys.exit(f"write.py: {error}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for path in IMAGES.iterdir():
        path.unlink()
    for name, figure in drawn.items():
        figures.save(figure, IMAGES, name, png=False)
    PAGE.write_text(text, encoding="utf-8")
    README.write_text(MARK.join(readme), encoding="utf-8")


def page() -> tuple[str, dict[str, Figure]]:
    """Returns docs/results.md and its pictures by their names."""
    found: dict[str, Figure] = {}

    def drawn(prefix: str, some: pictures.Pictures) -> str:
        named = {f"{prefix}_{name}": figure for name, figure in some.items()}
        found.update(named)
        return "\n".join(
            f"![{name.replace('_', ' ')}](images/results/{name}.svg)\n"
            for name in named
        )

    return _tidied(_template(drawn).render()), found


def in_readme() -> str:
    """Returns what the README says: pictures are side by side there."""

    def drawn(prefix: str, some: pictures.Pictures) -> str:
        return "".join(
            f'<img src="docs/images/results/{prefix}_{name}.svg" width="49%" '
            f'alt="{figure.get_suptitle()}: differences in test accuracy">\n\n'
            for name, figure in some.items()
        )

    template = _template(drawn)
    context = template.new_context()
    text = "\n".join("".join(template.blocks[name](context)) for name in BLOCKS)
    return _tidied(re.sub(r">\n+<img", ">\n<img", text))


def _template(drawn: Callable[[str, pictures.Pictures], str]) -> jinja2.Template:
    """Returns the page to be filled in, by what draws pictures on it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(parts.HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "rates": {base: parts.recorded(name) for base, name in parts.RATES.items()},
        "drawn": drawn,
        "claims": claims,
        "comparison": comparison,
        "measurements": measurements,
        "parts": parts,
        "pictures": pictures,
        "search": search,
    }
    return environment.get_template("page.md")


def _tidied(text: str) -> str:
    """Returns Markdown with one empty line where there are several."""
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


if __name__ == "__main__":
    app.run(main)
