"""What the context of a step gets from the engine; who writes steps needs none of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from wfe.core.artifacts import StepArtifacts
    from wfe.core.masking import Masker
    from wfe.core.steps import StepExecutionContext
    from wfe.core.transaction_provider import StepTransaction

__all__ = ["Services"]

T = TypeVar("T")


class Services(Protocol):
    """What the engine lends to a context."""

    @property
    def app(self) -> Any:
        """The application's object."""
        ...

    def now(self) -> datetime:
        """Return the time of the host's clock, aware, UTC."""
        ...

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """Return an object of the host; *make* makes it at the first call."""
        ...

    def load_data(self, ctx: StepExecutionContext[Any]) -> Any:
        """Return a fresh typed copy of the data."""
        ...

    def item(self, ctx: StepExecutionContext[Any], level: int) -> tuple[int | None, Any]:
        """Return index and value of a for-each around the step; level 0 is the innermost."""
        ...

    def path(self, ctx: StepExecutionContext[Any]) -> tuple[int, ...]:
        """Return the numbers of the for-each items around the step, outermost first."""
        ...

    def masks(self) -> Masker | None:
        """Return what masks the secrets that the run was given on this host."""
        ...

    def mask(self, secrets: Mapping[str, str]) -> None:
        """Mask *secrets* from now on."""
        ...

    def failed(self, ctx: StepExecutionContext[Any]) -> bool:
        """Return whether something failed that the step comes after."""
        ...

    def hooked(self, ctx: StepExecutionContext[Any]) -> Mapping[str, Any] | None:
        """Return what became of the step whose hook this is, ``None`` outside of one."""
        ...

    def artifacts(self, ctx: StepExecutionContext[Any]) -> StepArtifacts:
        """Return what the step keeps and gets."""
        ...

    def transaction(self, ctx: StepExecutionContext[Any]) -> StepTransaction:
        """Return the transaction of a body, not open yet.

        Raises:
            ProviderError: The store has none.
            TransactionError: The step can have none.
        """
        ...

    def environment(self, ctx: StepExecutionContext[Any]) -> Mapping[str, Any]:
        """Return the step's declared environment."""
        ...

    def write_log(self, ctx: StepExecutionContext[Any], stream: str, line: str) -> None:
        """Take a log line."""
        ...

    def emit(self, ctx: StepExecutionContext[Any], name: str, payload: Any) -> None:
        """Store an item of the run's stream, and tell observers about progress.

        Raises:
            DataTypeError: It cannot be stored.
        """
        ...

    def progress(self, ctx: StepExecutionContext[Any], name: str, payload: Any) -> None:
        """Tell observers about progress."""
        ...

    async def start_workflow(
        self,
        ctx: StepExecutionContext[Any],
        definition: str,
        data: Any,
        version: int | None,
        name: str | None,
        reference: str | None,
        key: str | None,
    ) -> str:
        """Start another run; return its id."""
        ...
