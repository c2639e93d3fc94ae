"""Processes of engines on the nodes of a Ray cluster. Only a run that asks for it imports Ray."""
