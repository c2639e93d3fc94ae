"""Datasets: files and objects become rows.

A dataset is read as it is collected and never touches a model. Every row knows where it is written, so that an
error, and later a report of its case, can name the file and the line.
"""
