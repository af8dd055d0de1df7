"""What authors of steps, workflows and providers import.

Names are imported when they are first used, so that a program pays only for what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wfe.core.lazy import Lookup, lazily

if TYPE_CHECKING:
    from wfe.core.artifacts import (
        ArtifactError,
        ArtifactInfo,
        ArtifactNotFoundError,
        DamagedArtifactError,
    )
    from wfe.core.builder import (
        BranchBuilder,
        ParallelBuilder,
        StepBuilder,
        WorkflowBuilder,
        expr,
    )
    from wfe.core.dag import Dag
    from wfe.core.definition import WorkflowDefinition
    from wfe.core.durable.context import WorkflowContext
    from wfe.core.durable.functions import DurableFunction, workflow
    from wfe.core.durable.saga import Saga
    from wfe.core.engine.middleware import StepMiddleware, WorkflowMiddleware
    from wfe.core.errors import (
        ActivityTokenError,
        DataTypeError,
        DefinitionConflictError,
        DefinitionError,
        DefinitionNotFoundError,
        DeterminismError,
        DuplicateNameError,
        HostStoppingError,
        HttpError,
        InvalidStateTransitionError,
        LeaseLostError,
        PluginNotFoundError,
        ProviderError,
        ScheduleNotFoundError,
        StepCrashedError,
        StepFailedError,
        StepTimeoutError,
        TransactionError,
        TransactionTimeoutError,
        UpdateRejectedError,
        WfeError,
        WorkflowNotFoundError,
        WorkflowTerminatedError,
    )
    from wfe.core.fields import merged, transient
    from wfe.core.flow import Flow
    from wfe.core.flow_builder import FlowBuilder, FlowNode
    from wfe.core.found import FoundLine, FoundRun
    from wfe.core.http import HttpRequest
    from wfe.core.models import (
        Activity,
        Approval,
        ArchivedRun,
        ErrorInfo,
        ExecutionPointer,
        HistoryEntry,
        LifecycleEvent,
        LogLine,
        OpenActivity,
        Page,
        PointerStatus,
        StoredDefinition,
        StreamItem,
        WorkflowInstance,
        WorkflowStatus,
    )
    from wfe.core.policies import (
        Backoff,
        Compensate,
        CompensateThenRetry,
        CompensateThenSuspend,
        Continue,
        ErrorPolicy,
        Fail,
        Retry,
        RetryForever,
        Suspend,
        Terminate,
        exponential,
        fixed,
        linear,
    )
    from wfe.core.polling import PollEndpoint
    from wfe.core.reducers import append, union
    from wfe.core.schedules import Schedule
    from wfe.core.secret_commands import CommandSecrets
    from wfe.core.secret_files import FileSecrets
    from wfe.core.secrets import (
        EnvSecrets,
        MissingSecretError,
        SecretInDataError,
        SecretsProvider,
    )
    from wfe.core.step_settings import step
    from wfe.core.steps import CancelToken, ExecutionResult, StepBody, StepExecutionContext
    from wfe.core.tasks import task

__all__ = [
    "Activity",
    "ActivityTokenError",
    "Approval",
    "ArchivedRun",
    "ArtifactError",
    "ArtifactInfo",
    "ArtifactNotFoundError",
    "Backoff",
    "BranchBuilder",
    "CancelToken",
    "CommandSecrets",
    "Compensate",
    "CompensateThenRetry",
    "CompensateThenSuspend",
    "Continue",
    "Dag",
    "DamagedArtifactError",
    "DataTypeError",
    "DefinitionConflictError",
    "DefinitionError",
    "DefinitionNotFoundError",
    "DeterminismError",
    "DuplicateNameError",
    "DurableFunction",
    "EnvSecrets",
    "ErrorInfo",
    "ErrorPolicy",
    "ExecutionPointer",
    "ExecutionResult",
    "Fail",
    "FileSecrets",
    "Flow",
    "FlowBuilder",
    "FlowNode",
    "FoundLine",
    "FoundRun",
    "HistoryEntry",
    "HostStoppingError",
    "HttpError",
    "HttpRequest",
    "InvalidStateTransitionError",
    "LeaseLostError",
    "LifecycleEvent",
    "LogLine",
    "MissingSecretError",
    "OpenActivity",
    "Page",
    "ParallelBuilder",
    "PluginNotFoundError",
    "PointerStatus",
    "PollEndpoint",
    "ProviderError",
    "Retry",
    "RetryForever",
    "Saga",
    "Schedule",
    "ScheduleNotFoundError",
    "SecretInDataError",
    "SecretsProvider",
    "StepBody",
    "StepBuilder",
    "StepCrashedError",
    "StepExecutionContext",
    "StepFailedError",
    "StepMiddleware",
    "StepTimeoutError",
    "StoredDefinition",
    "StreamItem",
    "Suspend",
    "Terminate",
    "TransactionError",
    "TransactionTimeoutError",
    "UpdateRejectedError",
    "WfeError",
    "WorkflowBuilder",
    "WorkflowContext",
    "WorkflowDefinition",
    "WorkflowInstance",
    "WorkflowMiddleware",
    "WorkflowNotFoundError",
    "WorkflowStatus",
    "WorkflowTerminatedError",
    "append",
    "exponential",
    "expr",
    "fixed",
    "linear",
    "merged",
    "step",
    "task",
    "transient",
    "union",
    "workflow",
]

_HOMES = {
    "wfe.core.artifacts": (
        "ArtifactError",
        "ArtifactInfo",
        "ArtifactNotFoundError",
        "DamagedArtifactError",
    ),
    "wfe.core.builder": (
        "BranchBuilder",
        "ParallelBuilder",
        "StepBuilder",
        "WorkflowBuilder",
        "expr",
    ),
    "wfe.core.dag": ("Dag",),
    "wfe.core.fields": (
        "merged",
        "transient",
    ),
    "wfe.core.definition": ("WorkflowDefinition",),
    "wfe.core.durable.context": ("WorkflowContext",),
    "wfe.core.durable.functions": (
        "DurableFunction",
        "workflow",
    ),
    "wfe.core.durable.saga": ("Saga",),
    "wfe.core.engine.middleware": (
        "StepMiddleware",
        "WorkflowMiddleware",
    ),
    "wfe.core.errors": (
        "ActivityTokenError",
        "DataTypeError",
        "DefinitionConflictError",
        "DefinitionError",
        "DefinitionNotFoundError",
        "DeterminismError",
        "DuplicateNameError",
        "HostStoppingError",
        "HttpError",
        "InvalidStateTransitionError",
        "LeaseLostError",
        "PluginNotFoundError",
        "ProviderError",
        "ScheduleNotFoundError",
        "StepCrashedError",
        "StepFailedError",
        "StepTimeoutError",
        "TransactionError",
        "TransactionTimeoutError",
        "UpdateRejectedError",
        "WfeError",
        "WorkflowNotFoundError",
        "WorkflowTerminatedError",
    ),
    "wfe.core.flow": ("Flow",),
    "wfe.core.flow_builder": ("FlowBuilder", "FlowNode"),
    "wfe.core.found": ("FoundLine", "FoundRun"),
    "wfe.core.http": ("HttpRequest",),
    "wfe.core.tasks": ("task",),
    "wfe.core.models": (
        "Activity",
        "Approval",
        "ArchivedRun",
        "ErrorInfo",
        "ExecutionPointer",
        "HistoryEntry",
        "LifecycleEvent",
        "LogLine",
        "OpenActivity",
        "Page",
        "PointerStatus",
        "StoredDefinition",
        "StreamItem",
        "WorkflowInstance",
        "WorkflowStatus",
    ),
    "wfe.core.policies": (
        "Backoff",
        "Compensate",
        "CompensateThenRetry",
        "CompensateThenSuspend",
        "Continue",
        "ErrorPolicy",
        "Fail",
        "Retry",
        "RetryForever",
        "Suspend",
        "Terminate",
        "exponential",
        "fixed",
        "linear",
    ),
    "wfe.core.polling": ("PollEndpoint",),
    "wfe.core.reducers": (
        "append",
        "union",
    ),
    "wfe.core.schedules": ("Schedule",),
    "wfe.core.secret_commands": ("CommandSecrets",),
    "wfe.core.secret_files": ("FileSecrets",),
    "wfe.core.secrets": (
        "EnvSecrets",
        "MissingSecretError",
        "SecretInDataError",
        "SecretsProvider",
    ),
    "wfe.core.step_settings": ("step",),
    "wfe.core.steps": ("CancelToken", "ExecutionResult", "StepBody", "StepExecutionContext"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__getattr__: Lookup = lazily(globals(), _HOME)


def __dir__() -> list[str]:
    """Return the public names, whether they are imported yet or not."""
    return sorted({*globals(), *__all__})
