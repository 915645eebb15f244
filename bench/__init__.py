"""Figures that the README and the docs name, measured on the lab: `python -m bench.<name>`.

Each prints JSON lines, one a run and a last one with the medians. Figures are not asserted here.
"""
