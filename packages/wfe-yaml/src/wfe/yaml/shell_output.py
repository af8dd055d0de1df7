"""Takes the lines that the commands of a step write: to the log, as annotations, as outputs."""

from __future__ import annotations

import json
from collections import deque
from typing import Final

import attrs

from wfe.core.errors import WfeError
from wfe.core.lean import define
from wfe.core.secret_names import MASK
from wfe.yaml.annotations import Annotations
from wfe.yaml.output_log import OutputLog
from wfe.yaml.step_outputs import StepOutputError, StepOutputs, read_marker

__all__ = ["ShellOutput"]

_ADD_MASK: Final = "::add-mask::"
_TAIL: Final = 5  # lines of output in the error


@define(kw_only=True)
class ShellOutput:
    """Everything that one attempt writes.

    Attributes:
        log: Where lines go.
        outputs: What declared markers on stdout set; ``None``: stdout is not read for outputs.
        masked: Whether secrets are taken out of the lines.
        tail: The last lines, for the error.
        wrong: What was wrong with outputs on stdout.
    """

    log: OutputLog
    outputs: StepOutputs | None
    masked: bool = False
    annotations: Annotations = attrs.field(factory=Annotations)
    tail: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_TAIL))
    wrong: list[WfeError] = attrs.field(factory=list[WfeError])

    def take(self, stream: str, line: str) -> None:
        """Take one line."""
        found = None if stream == "warning" else self.annotations.read(line)
        if found is not None:
            self._annotation(*found)
            return
        if line.startswith(_ADD_MASK):  # a program that knows GitHub says what is secret
            line = f"{_ADD_MASK}{MASK}"
        self.log.line(stream, line)
        if stream == "warning":
            return
        self.tail.append(line)
        if stream == "stdout" and self.outputs is not None and line.startswith("##wfe["):
            self._marker(self.outputs, line)

    def _annotation(self, stream: str, text: str) -> None:
        if stream != "annotation":
            self.log.line(stream, text)
            return
        self.log.write(stream, text)  # few, and the point of a long log
        told = json.loads(text)
        if told["level"] == "error":
            self.tail.append(told["message"])

    def _marker(self, outputs: StepOutputs, line: str) -> None:
        marker = read_marker(line)
        if marker is None:
            return
        name, value = marker
        if self.masked and MASK in value and name in outputs.declared:
            problem = f"output {name!r} on stdout contains a secret, and secrets are never stored"
            self.wrong.append(StepOutputError(problem))
            return
        try:
            warning = outputs.take_marker(name, value)
        except WfeError as error:
            self.wrong.append(error)
            return
        if warning:
            self.log.write("warning", warning)
