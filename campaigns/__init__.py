"""Programs that try to break what the documentation promises, and print a table of what came of it. Not part of the tests."""
