"""Evaluation artifacts: written while a run goes on, read, checked and queried afterwards."""
