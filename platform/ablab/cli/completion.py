"""Shell completion by argcomplete: at every TAB the shell asks the command, which reads the project's declarations."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

PROGRAMS = ("ablab", "run-ablation", "run-study")
SHELLS = ("bash", "zsh", "fish")
Completer = Callable[..., Iterable[str]]


def completion(arguments: argparse.Namespace) -> None:
    """Print the code that a shell evaluates."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(list(PROGRAMS), shell=arguments.shell))


def completed_by(action: argparse.Action, completer: Completer) -> None:
    """Have the values of an argument completed by what `completer(prefix, parsed_args)` gives."""
    action.completer = completer  # type: ignore[attr-defined]


def ablations(prefix: str, **__: Any) -> list[str]:
    """Every ablation; behind an @ its pinned versions and `dev`."""
    from ablab.registry.declarations import load_declarations
    from ablab.registry.versions import pinned_names, pinned_numbers
    from ablab.settings import load_settings

    project = load_settings().project
    name, at, _ = prefix.partition("@")
    if at:
        return [*(f"{name}@{number}" for number in pinned_numbers(project, name)), f"{name}@dev"]
    return sorted({*load_declarations(project).ablations, *pinned_names(project)})


def studies(prefix: str, **__: Any) -> list[str]:
    """Every study; behind an @ its pinned versions and `dev`."""
    from ablab.search.declared import declared_studies, pinned_studies
    from ablab.settings import load_settings

    project = load_settings().project
    name, at, _ = prefix.partition("@")
    if at:
        return [*(f"{name}@{number}" for number in pinned_studies(project).get(name, ())), f"{name}@dev"]
    return sorted({*declared_studies(project)[0], *pinned_studies(project)})


def declared(prefix: str, **__: Any) -> list[str]:
    """Every ablation and study."""
    return sorted({*ablations(prefix), *studies(prefix)})


def scales(parsed_args: argparse.Namespace, **__: Any) -> list[str]:
    """Of the ablation or study that is named before it; of all ablations where it comes first."""
    from ablab.registry.declarations import load_declarations
    from ablab.registry.versions import resolve_name
    from ablab.search.declared import is_study
    from ablab.settings import load_settings

    project = load_settings().project
    if is_study(project, (getattr(parsed_args, "name", None) or "").partition("@")[0]):
        return study_scales(parsed_args)
    if name := getattr(parsed_args, "name", None):
        return list(resolve_name(project, name).ablation.designs)
    every = load_declarations(project).ablations.values()
    return list(dict.fromkeys(scale for loaded in every for scale in loaded.ablation.designs))


def study_scales(parsed_args: argparse.Namespace, **__: Any) -> list[str]:
    """Of the study that is named before it; of all where it comes first."""
    from ablab.search.declared import choose_study, declared_studies
    from ablab.settings import load_settings

    project = load_settings().project
    if parsed_args.name:
        return list(choose_study(project, parsed_args.name).study.designs)
    every = declared_studies(project)[0].values()
    return list(dict.fromkeys(scale for study in every for scale in study.designs))


def arms(prefix: str, parsed_args: argparse.Namespace, **__: Any) -> list[str]:
    """Arms of the ablation that is named before it, behind those that are written already."""
    from ablab.registry.versions import resolve_name
    from ablab.settings import load_settings

    if not parsed_args.name:
        return []
    design = resolve_name(load_settings().project, parsed_args.name).ablation.design(parsed_args.scale)
    before, comma, _ = prefix.rpartition(",")
    written = set(before.split(","))
    return [f"{before}{comma}{arm}" for arm in design.arm_names() if arm not in written]
