"""Answers that are known from before: those of a recorded run (replay, resume) and those in the cache.

`memory` stands in front of the engines and answers a request before it is sent; `keys` says when two requests are the same,
`recorded` reads a run, `replay`, `resume` and `cache` are where answers come from.
"""
