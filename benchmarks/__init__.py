"""What waiting, copying, importing and submitting cost, and what others pay for the same: see docs/performance.md."""
