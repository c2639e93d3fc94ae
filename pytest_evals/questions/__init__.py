"""Questions that people and judges are asked: what may be answered, and what was."""
