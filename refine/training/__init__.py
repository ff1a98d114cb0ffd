"""Training in two stages on Lightning: the tokenizer, then the predictor on cached codes."""
