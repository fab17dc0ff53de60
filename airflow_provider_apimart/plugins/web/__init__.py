"""The pages: loaded by the API server when somebody opens the first of them, and by no other process."""
