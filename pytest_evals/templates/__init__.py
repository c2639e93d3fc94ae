"""Locators, templates and expressions: how a string in a suite refers to the fields of its case.

``"item.answer"`` and ``"{{item.answer}}"`` as a whole string are the raw value, type kept. ``{{item.answer}}`` inside a longer
string is interpolated, and everything else that Jinja2 can do is done by it (sandboxed, strict: an unknown name is an error).
Paths may be nested (``item.person.name``, ``item.choices.0``), a name that is not a word is put in brackets
(``item["full name"]``), and ``item.files.NAME`` is a file of the case, which stands for its text.

A scope may hold more names than ``item``: the results of tasks. ``"{{draft}}"`` and ``"{{draft.field}}"`` as a whole string
are raw values too; without braces such a string is a locator only where the scope says that ``draft`` is a task's alias.
"""
