"""What a DAG file pays for importing operators."""
