"""The same work for us and for each rival: a script each, run in an environment of its own."""
