"""Evaluation: suites through lm-eval, perplexity, and a 5-gram model as a floor. Only workers import it."""
