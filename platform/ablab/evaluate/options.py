"""The kind of lm-eval task that ablab uses: an item with options, or a word that people read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from ablab.corpora.requests import requests_of
from ablab.corpora.suite_ewok import read_archive
from ablab.evaluate.items import read_rows

WORD = "word_loglikelihood"
"""Request type of a word that is tokenized by itself."""


class OptionsTask(ConfigurableTask):  # type: ignore[misc]
    """A multiple-choice task over one file of items (`tasks/options.yaml` states its fields).

    Differs from lm-eval's own task in where rows come from (a file, no data set cache) and in how requests are
    built: once for all models, without few-shot prompts and progress bars. Scoring is lm-eval's.
    """

    _instances: list[Instance] | None = None

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def download(self, dataset_kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Read the items of `dataset_kwargs`: `path`, `metric`, `first` so many, `archive` of their text."""
        source = dataset_kwargs or {}
        text = None
        if archive := source.get("archive"):
            text = read_archive(Path(archive["path"]), archive["sha256"], archive["task"])[archive["task"]]
        self.dataset = {"test": read_rows(Path(source["path"]), source["metric"], text, source["first"])}

    def build_all_requests(self, **_: Any) -> None:
        """One instance for each option. Called again, it keeps them and forgets the last model's answers.

        lm-eval appends answers to the instances and reads the first, so that a second model would silently be
        given the scores of the first one.
        """
        if self._instances is None:
            self._instances = []
            for index, doc in enumerate(self.eval_docs):
                metadata = (self.task_name, index, 1)
                self._instances += [
                    Instance(WORD if one.word else "loglikelihood", doc, one.pair, one.place[1], metadata=metadata)
                    for one in requests_of(doc)
                ]
        for instance in self._instances:
            instance.resps = []
            instance.filtered_resps = {}
