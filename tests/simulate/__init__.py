"""Releases in a simulated world."""
