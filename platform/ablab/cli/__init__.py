"""Command line: `run-ablation` and `ablab`."""
