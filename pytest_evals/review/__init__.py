"""Grades that people give: questions, the answers to them in a file beside the artifact, and the page that asks.

The grader ``human`` writes its question into the artifact as a pending grade; ``pytest-evals annotate`` asks it and keeps
the answers; ``--evals-replay`` has the grader find them.
"""
