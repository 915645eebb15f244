"""What a policy would do: whole walks in a simulated world, many of them, decided by the shipped `decide()`.

`scenario.py` says what happens, `traffic.py` lets requests come and be counted, `walk.py` lets one walk meet them,
`tally.py` counts how many walks ended. Chance comes from a seed, and there is no clock. Not here: judging, which is
`core/`'s; how it is asked for and shown (`cli/simulate.py`). A rollout does not import this package.
"""
