"""Runs cases: requests are handed in ahead, tasks and async graders run together, completions are delivered, outcomes reported."""
