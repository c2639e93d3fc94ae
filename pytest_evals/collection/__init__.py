"""Collection: a test function with ``@cases(...)`` becomes one test item for each case, model and repeat."""
