"""What a rollout knows: plans, states, tests and the one decision function.

Everything in this package is pure: standard library and pydantic only. No clock, no input or
output, no logging; time arrives as `seen.now`. The world is touched by `perform.py`,
`observe.py` and `journal.py` one level up.
"""
