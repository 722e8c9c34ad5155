"""Which objects exist: sources, checksums, licences, selection and splits, ending in `catalog.parquet`."""
