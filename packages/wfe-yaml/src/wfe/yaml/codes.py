"""The stable codes of diagnostics and what each means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["MEANINGS", "WARNINGS"]

MEANINGS: Final[Mapping[str, str]] = {
    "WFE001": "The file is not well-formed YAML.",
    "WFE002": "A limit (size, depth, nodes, length) is exceeded.",
    "WFE003": "A key stands twice in one map.",
    "WFE004": "A merge key (`<<`) is repeated or does not name a map.",
    "WFE005": "An anchor is defined twice.",
    "WFE006": "An alias names no anchor, or contains itself.",
    "WFE007": "A tag (`!x`) is used; files have plain data only.",
    "WFE008": "The file does not hold exactly one document.",
    "WFE009": "The file asks for a YAML version other than 1.2.",
    "WFE010": "The file cannot be read as UTF-8 text.",
    "WFE011": "A value is of the wrong kind (map, list, text, number ...).",
    "WFE012": "A key is not known here.",
    "WFE013": "A required key is missing, or a list is empty.",
    "WFE014": "A part of the language needs a plugin that is not installed.",
    "WFE015": "A value is outside what is allowed here.",
    "WFE016": "A duration is not written as one.",
    "WFE017": "A type is not written as one.",
    "WFE018": "A name or id stands twice.",
    "WFE019": "A step is of no kind, or of several.",
    "WFE020": "A name or id has a form that is not allowed.",
    "WFE021": "A load-time variable `((name))` has no value.",
    "WFE022": "A workflow or step type is not known.",
    "WFE030": "An expression is not well-formed.",
    "WFE031": "The types in an expression do not fit.",
    "WFE032": "An expression reads a name that does not exist.",
    "WFE033": "An expression reads a step that has not run at that place on every path.",
    "WFE034": "An expression reads an output that the step does not declare.",
    "WFE035": "An expression gives a type that does not fit its place.",
    "WFE036": "A `${{` has no `}}`, or an expression stands where none may.",
    "WFE037": "An interpolation stands where the shell does not expand it.",
    "WFE040": "`needs` names a step that does not exist beside it.",
    "WFE041": "Steps or workflows wait for each other in a circle.",
    "WFE042": "A child workflow gets or gives something that it does not declare.",
    "WFE050": "An environment variable has a name that programs give a meaning to.",
    "WFE051": "A bare number is taken as milliseconds.",
    "WFE052": "A value is declared or set but can have no effect.",
    "WFE060": "The keys of a step's `config` do not fit together.",
    "WFE061": "A step type is installed, but cannot be loaded.",
    "WFE070": "A matrix has no runs, or names values that it does not have.",
    "WFE071": "A case of a `switch` can never be chosen.",
    "WFE080": "A file is included from where none may be.",
    "WFE081": "An included file cannot be read.",
    "WFE082": "Files include each other in a circle.",
    "WFE083": "`extends` names a template that does not exist.",
    "WFE084": "Templates extend or contain each other in a circle.",
    "WFE085": "A trigger gives its workflow other inputs than it declares.",
    "WFE086": "A cron text or a time zone is wrong.",
    "WFE090": "A secret would flow into a value that is stored or shown.",
    "WFE091": "A step can never run.",
    "WFE092": "A condition is always true or always false.",
    "WFE093": "An input or output is declared, but nothing reads it.",
    "WFE094": "Steps that may run at the same time make the same name.",
    "WFE095": "A retry stands around a step that cannot fail.",
    "WFE100": "A step cannot be given a secret in this way.",
    "WFE110": "A step may do more than it seems to.",
    "WFE111": "A step type needs something that is not installed.",
    "WFE112": "A script has a type error.",
    "WFE120": "A step keeps or takes something, but has no body of its own.",
    "WFE121": "A pattern of files is empty or leads out of the workspace.",
    "WFE122": "The rounds of a loop replace each other's artifact.",
}
"""Code -> one sentence.  A code never changes its meaning."""

WARNINGS: Final = frozenset(
    {
        "WFE050",
        "WFE051",
        "WFE052",
        "WFE091",
        "WFE093",
        "WFE094",
        "WFE095",
        "WFE110",
        "WFE122",
    }
)
"""The codes that leave a file to run; WFE050 is an error where a secret would get such a name."""
