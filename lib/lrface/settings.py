"""The ``LRFACE_*`` environment variables, read in one place."""
