"""Configurations of other tools become suites: their rows, their graders, and a list of what could not be carried over.

``read`` functions (`registry`, `evals_api`, `promptfoo`, `lm_eval`) turn a file into a `Suite`; `writing` turns that into files.
Nothing is run, and nothing is fetched.
"""
