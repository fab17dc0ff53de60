"""Submit, remember, defer, finish."""
