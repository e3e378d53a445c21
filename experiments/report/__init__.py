"""A page about a run, a suite or several seeds: tables, figures, how it was made.

    python -m experiments.report FOLDER ...

writes `report.html`, `figures/` and `tables/` into the folder, or into the common
parent of several. It needs the packages that `pip install '.[train]'` installs.
"""

from experiments.report.page import write

__all__ = ["write"]
