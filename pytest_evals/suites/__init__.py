"""Suites: what authors declared, with the rows read, the templates rendered and the gates parsed."""
