"""How far judges can be trusted: agreement of all who answered a question, and calibration against people's labels."""
