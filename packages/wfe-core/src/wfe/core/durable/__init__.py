"""Durable functions: workflows as async functions that survive their process.

``wfe.core`` has their names, and imports the module of each when it is first used.
"""

from __future__ import annotations
