"""Datasets: files and objects become rows.

A dataset is read as it is collected and never touches a model. Every row knows where it stands, so that an error, and
later whoever shows its case, can name the file and the line.
"""
