"""How far judges can be trusted: labels of people, calibration, preflights, agreement of all who answered a question."""
