"""Figures that the README and the docs name, measured on the lab or in a simulated world: `python -m bench.<name>`.

Each prints JSON lines, one a run or a case; those of the lab end with the medians. Figures are not asserted here.
"""
