"""What the engine costs, by counts that noise cannot move; run ``python -m benchmarks``."""
