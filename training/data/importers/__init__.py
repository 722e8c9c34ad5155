"""Importers: published data sets into a workspace, one module each; cameras are converted where they are read."""
