"""Find inputs and outputs that are declared, but that nothing reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from wfe.yaml.diagnostics import Problems, nearest
from wfe.yaml.scope import Reads
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar
from wfe.yaml.walking import Written, is_container, label, texts, walk

__all__ = ["warn_of_unused"]

_WORD: Final = re.compile(r"[A-Za-z_][\w-]*")


def warn_of_unused(spec: MapNode, reads: Reads, problems: Problems) -> None:
    """Warn of what the workflow *spec* declares in vain.

    A name that stands anywhere in a text counts as read: scripts get inputs as variables and take
    data apart in ways that are not looked into.
    """
    steps = tuple(walk(spec.get("steps")))
    _inputs(spec, reads, problems)
    _outputs(spec, steps, reads, problems)


def _words(found: Iterator[str]) -> set[str]:
    words: set[str] = set()
    for text in found:
        for word in _WORD.findall(text):
            words.add(word)
            words.update(word.split("-"))
    return words


def _inputs(spec: MapNode, reads: Reads, problems: Problems) -> None:
    declared = spec.get("inputs")
    if not isinstance(declared, MapNode) or "*" in reads.inputs or _takes_all(spec):
        return
    if "override" in spec.entries:
        return  # it stands in for another workflow, and takes what that takes
    words = _words(texts(spec, frozenset({id(declared)})))
    for name, entry in declared.entries.items():
        variable = name.upper().replace("-", "_")
        if name in reads.inputs or name in words or variable in words:
            continue
        # A typo is reported where it stands; this name is only the other half of it.
        near = nearest(name, reads.inputs)
        message = f"nothing reads the input `{name}`"
        hint = f"remove it, or read it: `${{{{ inputs.{name} }}}}`"
        if near:
            hint = f"`inputs.{near}` is read: is that the one?"
        problems.warning("WFE093", entry.key.span, message, hint)


def _takes_all(spec: MapNode) -> bool:
    """Whether code outside of the file may read every input: a file, a function, a plugin."""
    for written in walk(spec.get("steps")):
        kind, config = written.step.get("type"), written.step.get("config")
        if isinstance(kind, Scalar) and kind.value not in _TEXTS:
            return True
        if isinstance(config, MapNode) and "file" in config.entries:
            return True
    return False


_TEXTS: Final = frozenset({"shell", "deno", "http", "workflow", "git-repo"})


def _outputs(spec: MapNode, steps: tuple[Written, ...], reads: Reads, problems: Problems) -> None:
    if ("*", "*") in reads.outputs:
        return
    given = _names(spec.get("outputs"))
    leaves = [written.step for written in steps if not is_container(written.step)]
    mine = {id(leaf): _words(texts(leaf)) for leaf in leaves}
    mentions = Counter(word for words in mine.values() for word in words)
    elsewhere = _words(texts(spec, frozenset(mine)))
    for written in steps:
        own = mine.get(id(written.step), set[str]())
        for name, key in _names(written.step.get("outputs")).items():
            # The step's own texts make the output; any other that names it may read it.
            named = name in elsewhere or mentions[name] > (name in own)
            if name not in given and not named and not _is_read(name, written, reads):
                _warn(name, key, label(written.step) or "NAME", problems)


def _warn(name: str, key: Scalar, step: str, problems: Problems) -> None:
    access = f"steps.{step}" if step.isidentifier() else f"steps['{step}']"
    hint = f"remove it, or read it: `${{{{ {access}.outputs.{name} }}}}`"
    problems.warning("WFE093", key.span, f"nothing reads the output `{name}`", hint)


def _is_read(name: str, written: Written, reads: Reads) -> bool:
    if ("*", name) in reads.outputs:
        return True
    # The results of a loop hold the outputs of its steps.
    around = [label(step) for step in written.around]
    if any((step, "*") in reads.outputs for step in around if step):
        return True
    ids = (written.step.get("id"), written.step.get("name"))
    keys = [node.value for node in ids if isinstance(node, Scalar)]
    return any(pair in reads.outputs for key in keys for pair in ((key, name), (key, "*")))


def _names(node: Node | None) -> dict[str, Scalar]:
    """Return the declared names of ``outputs``: a map, or WFE's list."""
    if isinstance(node, MapNode):
        return {name: entry.key for name, entry in node.entries.items()}
    found: dict[str, Scalar] = {}
    for item in node.items if isinstance(node, ListNode) else []:
        scalar = item.get("name") if isinstance(item, MapNode) else item
        if isinstance(scalar, Scalar):
            found[scalar.value] = scalar
    return found
