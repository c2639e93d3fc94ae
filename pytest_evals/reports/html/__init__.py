"""Pages for a browser: each one self-contained file of our own HTML, CSS and JavaScript with its data inside.

Python computes the data, the scripts show it. Nothing here reaches for the network, and a content security policy keeps
it so.
"""
