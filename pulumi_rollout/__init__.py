"""Executed during `pulumi up`: the dynamic provider and all that it needs.

What is declared lives in `components`. Importing this package does nothing.
"""

# Said here, and not asked of what is installed, as the folder may have been copied. pyproject.toml has the same.
__version__ = "0.1.0"
