"""A score card or a plan -> text. Nothing is computed here, and nothing is written."""
