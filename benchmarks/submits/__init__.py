"""How fast many prompts are submitted."""
