"""URLs become S3 objects."""
