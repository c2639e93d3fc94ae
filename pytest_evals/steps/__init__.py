"""Tasks and async graders: steps of cases that are computed ahead of the tests, all cases together."""
