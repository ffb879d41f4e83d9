"""What running a command gives, and how tests call it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]
Process = Callable[..., CompletedProcess[bytes]]
REPOSITORY = "https://example.com/team/shop.git"
