"""What every provider must do: subclass a contract, give it fixtures, and run pytest."""

from __future__ import annotations

from wfe.testing.contracts.artifact_stores import ArtifactStoreContract
from wfe.testing.contracts.blobs import BlobContract
from wfe.testing.contracts.capabilities import CAPABILITIES
from wfe.testing.contracts.changes import ChangesContract
from wfe.testing.contracts.lifecycle import LifecycleContract
from wfe.testing.contracts.locks import LockContract
from wfe.testing.contracts.outbox import OutboxContract
from wfe.testing.contracts.persistence import PersistenceContract
from wfe.testing.contracts.queues import QueueContract
from wfe.testing.contracts.results import ArtifactIndexContract, CacheIndexContract
from wfe.testing.contracts.search import SearchContract
from wfe.testing.contracts.secrets import SecretsContract
from wfe.testing.contracts.transactions import TransactionContract

__all__ = [
    "CAPABILITIES",
    "ArtifactIndexContract",
    "ArtifactStoreContract",
    "BlobContract",
    "CacheIndexContract",
    "ChangesContract",
    "LifecycleContract",
    "LockContract",
    "OutboxContract",
    "PersistenceContract",
    "QueueContract",
    "SearchContract",
    "SecretsContract",
    "TransactionContract",
]
