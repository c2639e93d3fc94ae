"""Sequence classifiers and reward models: texts in, a number for each label out, in batches of all cases."""
