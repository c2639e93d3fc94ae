"""Graders: functions that become fixtures, and what they return that becomes grades. Ready-made ones are in `graders`."""
