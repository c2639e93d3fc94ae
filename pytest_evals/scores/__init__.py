"""From the grades of finished cases to scores, and to the score card that shows them. Pure."""
