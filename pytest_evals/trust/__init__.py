"""How far judges can be trusted: labels of people, calibration, preflights."""
