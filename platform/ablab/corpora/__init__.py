"""Where training text comes from: sources, splits, tokenizers and packed token streams."""
