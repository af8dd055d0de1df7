"""The fault suite itself, for a few seconds: real servers, hosts that die, and a judge that sees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import pytest
from faults.laws import LAWS, Judged, judge
from faults.plan import KINDS, drawn
from faults.reading import Seen, read
from faults.settings import Settings
from faults.wanted import undisturbed

ROOT = Path(__file__).parents[1]
