"""Root of the test tree: loads the benchmark plugin. Imports no torch, since tools import this file as it is."""

pytest_plugins = ["kinetics.bench.plugin"]
