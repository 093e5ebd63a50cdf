"""The contract of a backend: subclass `BackendContract` in one test module per store and every promise is tested.

```python
class TestMyStore(BackendContract):
    patience = timedelta(seconds=5)

    @pytest.fixture
    async def open_backend(self, tmp_path: Path) -> AsyncIterator[OpenBackend]:
        ...  # an async function `open(*, worker: bool = True) -> Backend`; each call is like a process of its own

    @pytest.fixture
    def crash(self) -> Crash:
        ...  # an async function that drops a backend as if its process were killed
```
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import pytest

from durable_ext.backends.protocol import Backend
from durable_ext.testing.contract_activities import ActivityStoreContract
from durable_ext.testing.contract_crashes import CrashContract
from durable_ext.testing.contract_generations import GenerationContract
from durable_ext.testing.contract_instances import InstanceStoreContract, TaskHubContract
from durable_ext.testing.contract_orchestrations import OrchestrationStoreContract
from durable_ext.testing.contract_rewinds import RewindContract
from durable_ext.testing.contract_scenes import Crash, OpenBackend, Scene

__all__ = [
    "ActivityStoreContract",
    "BackendContract",
    "Crash",
    "CrashContract",
    "GenerationContract",
    "InstanceStoreContract",
    "OpenBackend",
    "OrchestrationStoreContract",
    "RewindContract",
    "Scene",
    "TaskHubContract",
]


class BackendContract(
    OrchestrationStoreContract,
    GenerationContract,
    CrashContract,
    ActivityStoreContract,
    InstanceStoreContract,
    RewindContract,
    TaskHubContract,
):
    """All contracts; the subclass defines the fixtures `open_backend` and `crash`."""

    patience: ClassVar[timedelta] = timedelta(seconds=10)
    """How long something may take that has to happen; longer than it takes to notice that a worker died."""

    @pytest.fixture
    async def backend(self, open_backend: OpenBackend) -> Backend:
        """A backend that works on a hub of its own."""
        return await open_backend()

    @pytest.fixture
    def scene(self, backend: Backend) -> Scene:
        return Scene(backend, self.patience)
