"""The benchmarks that need no lab."""
