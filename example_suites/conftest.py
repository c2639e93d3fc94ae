"""Settings of every suite below this folder."""


def pytest_evals_models():
    """Models for every suite below this folder, unless --evals-model or cases(model=...) says otherwise."""
    return ["smollm2"]
