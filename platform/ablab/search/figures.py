"""Optuna's own plots of a study as PNG files: history, importances, slices, contour, rows of values, Pareto front."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

WIDTH_INCHES, HEIGHT_INCHES, PANEL_INCHES, DPI = 9.0, 5.0, 3.2, 110
LEAST = 2  # complete trials with different points


def write_figures(folder: Path, study: Any, metrics: Sequence[str]) -> list[Path]:
    """Draw what the trials allow. Importances and slices take two different complete trials; before that nothing is
    drawn. Returns the files."""
    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len({str(sorted(t.params.items(), key=lambda item: item[0])) for t in complete}) < LEAST:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's plots are experimental, and say so each time
        return [_save(folder / f"{name}.png", draw) for name, draw in _plots(study, metrics, complete)]


def _plots(study: Any, metrics: Sequence[str], complete: Sequence[FrozenTrial]) -> list[tuple[str, Callable[[], Any]]]:
    """By file name. Of several objectives every plot but the front is of one."""
    import matplotlib

    matplotlib.use("Agg")
    import optuna.visualization.matplotlib as plots

    found: list[tuple[str, Callable[[], Any]]] = []
    for index, metric in enumerate(metrics):
        suffix = f"-{metric}" if len(metrics) > 1 else ""
        options: dict[str, Any] = {"target_name": metric}
        if len(metrics) > 1:
            options["target"] = _value_at(index)
        found.append((f"history{suffix}", _drawing(plots.plot_optimization_history, study, options)))
        found.append((f"slice{suffix}", _drawing(plots.plot_slice, study, options)))
        if len({trial.values[index] for trial in complete}) > 1:
            found.append((f"importances{suffix}", _drawing(plots.plot_param_importances, study, options)))
        pair = _most_varied(complete)
        if len(pair) == 2:
            found.append((f"contour{suffix}", _drawing(plots.plot_contour, study, {**options, "params": pair})))
    if len(metrics) == 1:
        found.append(("intermediate", _drawing(plots.plot_intermediate_values, study, {})))
    elif len(metrics) == 2:
        found.append(("pareto", _drawing(plots.plot_pareto_front, study, {"target_names": list(metrics)})))
    return found


def _drawing(plot: Callable[..., Any], study: Any, options: dict[str, Any]) -> Callable[[], Any]:
    return lambda: plot(study, **options)


def _value_at(index: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[index])


def _most_varied(complete: Sequence[FrozenTrial]) -> list[str]:
    """The two parameters with the most different values: what a contour can show."""
    names = sorted({name for trial in complete for name in trial.params})
    counts = {name: len({str(trial.params.get(name)) for trial in complete}) for name in names}
    varied = [name for name in names if counts[name] > 1]
    return sorted(varied, key=lambda name: (-counts[name], name))[:2]


def _save(path: Path, draw: Callable[[], Any]) -> Path:
    import matplotlib.pyplot as plt
    import numpy as np

    axes = np.ravel(np.asarray(draw(), dtype=object))
    for one in axes:  # whole paths of several panels would overlap
        one.set_xlabel(one.get_xlabel().rpartition(".")[2])
    figure = axes[0].figure
    figure.set_size_inches(max(WIDTH_INCHES, PANEL_INCHES * len(axes)), HEIGHT_INCHES)
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # several workers may draw
    figure.savefig(partial, dpi=DPI, bbox_inches="tight", format="png")
    partial.replace(path)
    plt.close(figure)
    return path
