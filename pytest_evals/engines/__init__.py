"""Engines: what turns requests into completions.

``protocol`` says what an engine is, ``spec`` reads ``ENGINE:NAME``, ``pool`` owns one ``process`` per loaded model, in
which ``host`` runs the engine (``scripted`` or ``transformers``). ``channel`` is the wire between them, and ``remote``
lets the workers of pytest-xdist use the pool of their controller.
"""
