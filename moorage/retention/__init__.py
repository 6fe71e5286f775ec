"""`moorage retention`: protects images that run, and previews the retention rules."""
