"""Breaks servers, links and hosts under real work, and proves that nothing is lost or doubled."""
