"""What was sampled: rows that share a story are one unit, whose weighted sum over all tasks varies as one.

A cell holds the rows of one cluster in one task. Where every cluster is a single row, cells are rows, and all that
is computed here is the sampling of independent items within tasks. Tasks that share clusters form a stratum.
"""

# I rows, C cells, K clusters, T tasks, S strata

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """Rows stand in the order of tasks, and of clusters within a task."""

    tasks: Ints
    """First row of every task [T]."""
    cells: Ints
    """First row of every cell [C]."""
    clusters: Ints
    """Number of the cluster of every cell [C], from 0."""
    rows: int

    @cached_property
    def sizes_T(self) -> Ints:
        """Rows of every task."""
        return np.diff(np.append(self.tasks, self.rows))

    @cached_property
    def first_T(self) -> Ints:
        """First cell of every task."""
        return np.searchsorted(self.cells, self.tasks).astype(np.int64)

    @cached_property
    def cells_T(self) -> Ints:
        """Cells of every task: its sample size."""
        return np.diff(np.append(self.first_T, len(self.cells)))

    @cached_property
    def task_C(self) -> Ints:
        """Task of every cell."""
        return np.repeat(np.arange(len(self.tasks)), self.cells_T)

    @property
    def count(self) -> int:
        """Clusters."""
        return int(self.clusters.max(initial=-1)) + 1

    @cached_property
    def single(self) -> bool:
        """True when every row is a cluster of its own."""
        return len(self.cells) == self.rows and not len(self.spanning[0])

    @cached_property
    def spanning(self) -> tuple[Ints, Ints]:
        """Cells whose clusters have several, ordered by cluster, and where in them each cluster begins."""
        several = np.flatnonzero(np.bincount(self.clusters)[self.clusters] > 1) if len(self.cells) else self.cells
        order = several[np.argsort(self.clusters[several], kind="stable")]
        change = np.diff(self.clusters[order], prepend=-1) != 0
        return order, np.flatnonzero(change).astype(np.int64)

    @cached_property
    def stratum_T(self) -> Ints:
        """Stratum of every task, from 0: the tasks that clusters link."""
        order, _ = self.spanning
        task, cluster = self.task_C[order], self.clusters[order]
        label_T = np.arange(len(self.tasks))
        while True:
            lowest_K = np.full(self.count, len(self.tasks))
            np.minimum.at(lowest_K, cluster, label_T[task])
            linked_T = label_T.copy()
            np.minimum.at(linked_T, task, lowest_K[cluster])
            if np.array_equal(linked_T, label_T):
                return np.unique(label_T, return_inverse=True)[1].astype(np.int64)
            label_T = linked_T

    def df_S(self, weights_T: Array) -> Array:
        """Degrees of freedom of every stratum: the effective number of its clusters (Carter, Schnepel & Steigerwald
        2017), less one. Clusters that weigh the same count as they are."""
        per_row_T = weights_T / self.sizes_T
        per_cell_C = per_row_T[self.task_C] * np.diff(np.append(self.cells, self.rows))
        weight_K = np.bincount(self.clusters, per_cell_C)
        stratum_K = np.zeros(len(weight_K), np.int64)
        stratum_K[self.clusters] = self.stratum_T[self.task_C]
        largest_S = np.zeros(int(self.stratum_T.max()) + 1)
        np.maximum.at(largest_S, stratum_K, weight_K)
        square_K = (weight_K / largest_S[stratum_K]) ** 2
        result: Array = np.bincount(stratum_K, square_K) ** 2 / np.bincount(stratum_K, square_K**2) - 1.0
        return result


def units_of(clusters_I: NDArray[np.int64], tasks: Ints) -> Units:
    """Units of rows whose clusters have these numbers, one behind the other within each task."""
    begins = np.diff(clusters_I, prepend=-1) != 0
    begins[tasks] = True
    cells = np.flatnonzero(begins).astype(np.int64)
    return Units(tasks, cells, np.unique(clusters_I[cells], return_inverse=True)[1].astype(np.int64), len(clusters_I))
