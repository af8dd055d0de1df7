"""Breaks servers, networks and hosts under real work, and proves that nothing was lost or doubled."""
