"""What waiting, copying, importing, submitting and whole datasets cost, and what others pay: docs/performance.md."""
