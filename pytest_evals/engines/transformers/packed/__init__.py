"""The packed forward pass: tokens of all sequences in one row, keys and values in slots."""
