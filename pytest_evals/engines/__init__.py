"""Engines: what turns requests into completions.

``protocol`` says what an engine is and ``spec`` reads ``ENGINE:NAME``. ``pool`` owns one ``process`` per loaded model, in which
``worker`` runs the engine (``scripted`` or ``transformers``); ``ipc`` is the wire between them. ``remote`` lets the workers
of pytest-xdist use the pool of their controller.
"""
