"""What several processes on one store do, and what a full store costs; run ``python -m benchmarks.scaling``."""
