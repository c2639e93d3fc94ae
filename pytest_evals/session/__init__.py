"""The process that owns the session: takes finished cases, keeps the artifact, judges gates, makes the score card."""
