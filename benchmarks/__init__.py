"""Measurements of the project: ``compare`` against what people use instead, ``overhead`` of the plugin alone."""
