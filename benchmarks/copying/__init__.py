"""How fast pictures get from an image host into S3."""
