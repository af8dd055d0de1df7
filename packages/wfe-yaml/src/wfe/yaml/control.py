"""What the checks of control steps share: the step being checked, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from wfe.core.cel_types import CelType
from wfe.core.definition import Block, Expr, Node, Value
from wfe.core.lean import frozen
from wfe.core.policies import Exhausted, Retry
from wfe.yaml.context import Context
from wfe.yaml.diagnostics import nearest
from wfe.yaml.keys import KIND_KEYS, MODIFIERS
from wfe.yaml.scope import Scope
from wfe.yaml.tree import MapNode
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ValueType, described

__all__ = ["LIST_HINT", "CheckList", "Control", "ControlStep"]

_KEYS = frozenset({*MODIFIERS, *(key for keys in KIND_KEYS.values() for key in keys)})
LIST_HINT = "write a list of steps, each beginning with `- `"


class CheckList(Protocol):
    """Checks a list of steps, see :func:`wfe.yaml.steps.check_list`."""

    def __call__(
        self,
        node: TreeNode,
        what: str,
        name: str,
        context: Context,
        scope: Scope,
        *,
        unnamed: str | None = None,
    ) -> tuple[Block, Scope]: ...


@frozen(kw_only=True)
class Control:
    """What became of a control step.

    Attributes:
        node: Without modifiers; ``None`` when it is wrong.
        scope: What may be read behind it.
        doubt: Why what is inside may not have run, ``None`` when it has.
        outputs: That it has itself, such as an approval's choice; ``None``: it can have none.
        results: Whether it is a loop, with ``results``.
        policy: What follows when it fails, unless its modifiers say more.
    """

    node: Node | None
    scope: Scope
    doubt: str | None = None
    outputs: Mapping[str, ValueType] | None = None
    results: bool = False
    policy: Retry | Exhausted | None = None


@frozen(kw_only=True)
class ControlStep:
    """A control step that is being checked.

    Attributes:
        name: Of its node.
        key: Under which ``steps`` has it.
        scope: Its own, with its environment.
        named: Whether it was given a name, so that others can read it.
    """

    step: MapNode
    name: str
    key: str
    context: Context
    scope: Scope
    check_list: CheckList
    named: bool = True

    def block(self, key: str, scope: Scope | None = None, label: str = "") -> tuple[Block, Scope]:
        """Check the list of steps under *key*; *label* is the kind of step that needs it."""
        node = self.step.get(key)
        scope = self.scope if scope is None else scope
        if node is None:
            if not self._misspelt(key):
                hint = f"write `{key}:` and, below it, a list of steps"
                self.context.reader.missing(self.step, f"`{label or key}`", key, hint)
            return Block(), scope
        return self.listed(node, key, scope)

    def _misspelt(self, key: str) -> bool:
        """Whether an unknown key of the step, which is an error of its own, is meant as *key*."""
        others = [name for name in self.step.entries if name not in _KEYS]
        return any(nearest(name, (key,)) for name in others)

    def listed(self, node: TreeNode, what: str, scope: Scope) -> tuple[Block, Scope]:
        """Check the list of steps *node*, which stands under *what*."""
        return self.check_list(node, f"`{what}`", f"{self.name}.{what}", self.context, scope)

    def items(
        self, found: tuple[Expr, CelType] | None, node: TreeNode, what: str, hint: str
    ) -> tuple[Expr, CelType] | None:
        """Return the items of which *what* takes a list, with the type of one of them.

        Args:
            found: What *node* gives, with its type.
            node: Where it stands.
            what: For the message.
            hint: What to write instead.
        """
        if found is None:
            return None
        expr, kind = found
        if kind.signature.startswith("list<"):
            return expr, CelType(kind.signature[5:-1])
        if kind == CelType.DYN and not isinstance(expr, Value):  # known when it runs
            return expr, CelType.DYN
        message = f"{what} takes a list, this gives {described(kind)}"
        self.context.problems.error("WFE035", node.span, message, hint)
        return None

    def record(self, *, results: bool = False) -> dict[str, Any]:
        """Return the config of a node that records what became of it, if anybody can read it."""
        if not self.named:
            return {}
        return {"key": self.key, "results": True} if results else {"key": self.key}

    def limit(self, config: dict[str, Any]) -> None:
        """Read ``limit`` and ``fail_fast``."""
        limit, fast = self.step.get("limit"), self.step.get("fail_fast")
        reader = self.context.reader
        config["limit"] = None if limit is None else reader.integer(limit, "`limit`", 1)
        flag = None if fast is None else reader.boolean(fast, "`fail_fast`")
        config["fail_fast"] = True if flag is None else flag
