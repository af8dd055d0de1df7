"""What several processes do on one store, and what a full one costs: ``-m benchmarks.scaling``."""
