"""Executed during `pulumi up`: the dynamic provider and all that it needs.

What is declared lives in `components`. Importing this package does nothing.
"""
