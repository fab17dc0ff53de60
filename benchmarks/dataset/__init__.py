"""What a whole dataset costs in one task, and what it costs as one mapped task for each prompt."""
