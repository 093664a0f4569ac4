"""The microworld: stories over a small world with state, suites that match, and ground truth.

Everything is a function of a seed, in pure Python, and the same on every machine.
"""

from __future__ import annotations

from ablab.corpora.microworld.consistency import Consistency, consistency
from ablab.corpora.microworld.items import Item, Suite
from ablab.corpora.microworld.story import documents
from ablab.corpora.microworld.suites import suites

__all__ = ["Consistency", "Item", "Suite", "consistency", "documents", "suites"]
