"""Synthetic text sampled from one or two models: decoder, decoding, draws, shards, text."""
