"""Text: tokenizers, and files of any size as batches of tokens."""
