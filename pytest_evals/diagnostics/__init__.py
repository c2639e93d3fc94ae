"""What ``pytest-evals doctor`` finds out about this environment: packages, machine, models, sandboxes.

Each function returns findings and changes nothing. torch and transformers are not imported: their versions are read from metadata, and
a GPU is tried in a process of its own.
"""
