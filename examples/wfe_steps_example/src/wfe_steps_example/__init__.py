"""Two step types for WFE, as anybody can write them."""

from __future__ import annotations

from wfe_steps_example.checksum import Checksum, ChecksumError
from wfe_steps_example.ports import PortError, WaitForPort

__all__ = ["Checksum", "ChecksumError", "PortError", "WaitForPort"]
