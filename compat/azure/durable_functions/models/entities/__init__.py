"""What hosts and entities exchange."""

from .EntityState import EntityState
from .OperationResult import OperationResult
from .RequestMessage import RequestMessage
from .Signal import Signal

__all__ = ["EntityState", "OperationResult", "RequestMessage", "Signal"]
