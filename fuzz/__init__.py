"""Fuzzing of everything that reads what others wrote; not part of any distribution."""
