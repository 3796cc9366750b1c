"""Benchmarks on their way: what is asked of whom, what came of it, and how models compare."""
