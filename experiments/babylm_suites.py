"""The BabyLM 2025 zero-shot suites in their official layout, with the files that make each of them.

Put the organisers' `evaluation_data` folder under `ABLAB_DATA`. EWoK is read from a zip with a password, which its
terms ask for: the fast set comes as one (`ewok_fast.zip`); of the full set, make one of the folder that the
pipeline writes (`zip -er ewok_filtered.zip ewok_filtered`). The groups follow Ulm, Du & Snaebjarnarson 2025, who call
Supplement, EWoK, entity tracking and WUG reasoning-like.
"""

from __future__ import annotations

from collections.abc import Collection

from ablab.errors import InputError, did_you_mean
from ablab.spec import BabyLMSuite
from ablab.spec.suites import Group, SuiteTask


def full(leave_out: Collection[str] = (), items_per_task: int | None = None) -> tuple[BabyLMSuite, ...]:
    """The suites of a final evaluation. `leave_out`: names of suites, for data that one has not."""
    suites = (
        _suite("blimp", "linguistic", "full_eval/blimp_filtered", BLIMP),
        _suite("supplement", "reasoning", "full_eval/supplement_filtered", SUPPLEMENT),
        _suite("ewok", "reasoning", "full_eval/ewok_filtered.zip", EWOK, "ewok"),
        _suite("entity_tracking", "reasoning", "full_eval/entity_tracking", ENTITY_TRACKING, "entity-tracking"),
        *_human("full_eval"),
    )
    return _chosen(suites, leave_out, items_per_task)


def fast(leave_out: Collection[str] = (), items_per_task: int | None = None) -> tuple[BabyLMSuite, ...]:
    """The smaller suites for checkpoints; WUG and reading are the same as in `full`."""
    tracking = "fast_eval/entity_tracking_fast"
    suites = (
        _suite("blimp_fast", "linguistic", "fast_eval/blimp_fast", BLIMP),
        _suite("supplement_fast", "reasoning", "fast_eval/supplement_fast", SUPPLEMENT),
        _suite("ewok_fast", "reasoning", "fast_eval/ewok_fast.zip", EWOK, "ewok"),
        _suite("entity_tracking_fast", "reasoning", tracking, ENTITY_TRACKING, "entity-tracking"),
        *_human("fast_eval"),
    )
    return _chosen(suites, leave_out, items_per_task)


def _human(layout: str) -> tuple[BabyLMSuite, ...]:
    """Suites that compare with people."""
    nouns, verbs = "wug_adj_nominalization", "wug_past_tense"
    return (
        _suite(nouns, "reasoning", f"{layout}/{nouns}", (f"{nouns}.jsonl",), "wug"),
        _suite(verbs, "reasoning", f"{layout}/{verbs}", (f"{verbs}.jsonl",), "wug"),
        _suite("eye_tracking", "human-likeness", f"{layout}/reading", READING, "eye-tracking"),
        _suite("self_paced_reading", "human-likeness", f"{layout}/reading", READING, "self-paced-reading"),
    )


def _suite(
    name: str, group: Group, path: str, files: tuple[str, ...], task: SuiteTask = "sentence-pairs"
) -> BabyLMSuite:
    return BabyLMSuite(
        name=name, group=group, path=f"evaluation_data/{path}", items_per_task=None, task=task, files=files
    )


def _chosen(
    suites: tuple[BabyLMSuite, ...], leave_out: Collection[str], items_per_task: int | None
) -> tuple[BabyLMSuite, ...]:
    names = [suite.name for suite in suites]
    unknown = [name for name in leave_out if name not in names]
    if unknown:
        raise InputError(f"leave_out: there is no suite {name!r}; {did_you_mean(name, names)}" for name in unknown)
    kept = [suite for suite in suites if suite.name not in leave_out]
    return tuple(suite.model_copy(update={"items_per_task": items_per_task}) for suite in kept)


def _files(names: str) -> tuple[str, ...]:
    return tuple(f"{name}.jsonl" for name in names.split())


READING = ("reading_data.csv",)
ENTITY_TRACKING = _files("ambiref move_contents regular")
SUPPLEMENT = _files("hypernym qa_congruence_easy qa_congruence_tricky subject_aux_inversion turn_taking")
EWOK = _files(
    """
    agent-properties material-dynamics material-properties physical-dynamics physical-interactions physical-relations
    quantitative-properties social-interactions social-properties social-relations spatial-relations
    """
)
BLIMP = _files(
    """
    adjunct_island anaphor_gender_agreement anaphor_number_agreement animate_subject_passive animate_subject_trans
    causative complex_NP_island coordinate_structure_constraint_complex_left_branch
    coordinate_structure_constraint_object_extraction determiner_noun_agreement_1 determiner_noun_agreement_2
    determiner_noun_agreement_irregular_1 determiner_noun_agreement_irregular_2
    determiner_noun_agreement_with_adj_2 determiner_noun_agreement_with_adj_irregular_1
    determiner_noun_agreement_with_adj_irregular_2 determiner_noun_agreement_with_adjective_1
    distractor_agreement_relational_noun distractor_agreement_relative_clause drop_argument ellipsis_n_bar_1
    ellipsis_n_bar_2 existential_there_object_raising existential_there_quantifiers_1
    existential_there_quantifiers_2 existential_there_subject_raising expletive_it_object_raising inchoative
    intransitive irregular_past_participle_adjectives irregular_past_participle_verbs
    irregular_plural_subject_verb_agreement_1 irregular_plural_subject_verb_agreement_2
    left_branch_island_echo_question left_branch_island_simple_question matrix_question_npi_licensor_present
    npi_present_1 npi_present_2 only_npi_licensor_present only_npi_scope passive_1 passive_2 principle_A_c_command
    principle_A_case_1 principle_A_case_2 principle_A_domain_1 principle_A_domain_2 principle_A_domain_3
    principle_A_reconstruction regular_plural_subject_verb_agreement_1 regular_plural_subject_verb_agreement_2
    sentential_negation_npi_licensor_present sentential_negation_npi_scope sentential_subject_island
    superlative_quantifiers_1 superlative_quantifiers_2 tough_vs_raising_1 tough_vs_raising_2 transitive wh_island
    wh_questions_object_gap wh_questions_subject_gap wh_questions_subject_gap_long_distance wh_vs_that_no_gap
    wh_vs_that_no_gap_long_distance wh_vs_that_with_gap wh_vs_that_with_gap_long_distance
    """
)
"""67 phenomena of Warstadt et al. 2020."""
