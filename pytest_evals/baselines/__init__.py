"""Two runs side by side: which of their cases are the same, and what changed between them."""
