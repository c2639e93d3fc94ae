"""The contenders: one program each, run in a process of its own, so that none lives on what another left behind."""
