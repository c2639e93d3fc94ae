"""Answers that are known from before: those of a recorded run (replay, resume) and those in the cache.

`engines.answer_cache` answers a request before it is sent, and says when two requests are the same. `recorded_run` reads a
run; `replay`, `resume` and `cache` are where answers come from; `setup` puts them together for a session.
"""
