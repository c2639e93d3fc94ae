"""The ways in which a batch is generated: packed, by generate, and one sequence at a time as reference."""
