"""The in-memory log store keeps the port's contract."""

import pytest

from contracts.log_store import LogStoreContract
from trackside.adapters.memory.logs import MemoryLogStore


class TestMemoryLogStore(LogStoreContract):
    @pytest.fixture
    def store(self) -> MemoryLogStore:
        return MemoryLogStore()
