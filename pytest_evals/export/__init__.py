"""Recorded cases in the formats of other programs. Each module is one format, and writes row by row."""
