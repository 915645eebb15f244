"""Tests, by the part of the repository that they are about."""
