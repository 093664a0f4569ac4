"""The store: one self-describing, complete-or-absent directory per stage key."""

from ablab.store.context import Progress, StageContext, silent
from ablab.store.store import Attempt, Store

__all__ = ["Attempt", "Progress", "StageContext", "Store", "silent"]
