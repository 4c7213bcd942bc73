"""Benchmarks, which are not part of the package."""

import importlib


def run_part(name: str) -> object:
    """Run one part in this process and return its rows."""
    return importlib.import_module(f"bench.{name}").main()
