"""The kinds of lm-eval task that ablab uses: an item with options, and a word that people read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

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
                self._instances += self.construct_requests(doc=doc, ctx=doc["context"], metadata=metadata)
        for instance in self._instances:
            instance.resps = []
            instance.filtered_resps = {}


class ReadingTask(OptionsTask):
    """A word in its context and, where it counts, the word before it in its own.

    A word that begins with a space is scored as any completion. One that does not is tokenized by itself, as the
    public pipeline does (`ScoredLM.word_loglikelihood`).
    """

    def construct_requests(self, doc: Mapping[str, Any], ctx: str, **kwargs: Any) -> list[Instance]:
        """One instance for the word, a second one for the previous word."""
        words = [(ctx, doc["options"][0])]
        if "previous" in doc:
            words.append((doc["previous"]["context"], doc["previous"]["option"]))
        return [
            Instance("loglikelihood" if arguments[1].startswith(" ") else WORD, doc, arguments, index, **kwargs)
            for index, arguments in enumerate(words)
        ]
