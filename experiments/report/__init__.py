"""A page about a run, a suite or several seeds: tables, figures, how it was made.

    python -m experiments.report DIRECTORY

writes `report.html` and `figures/` into the directory. It needs the packages that
`pip install 'gaaf-keras[train]'` installs.
"""

from experiments.report.page import write

__all__ = ["write"]
