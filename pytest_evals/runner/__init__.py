"""Running cases: requests handed in ahead, answers waited for, completions delivered, outcomes reported."""
