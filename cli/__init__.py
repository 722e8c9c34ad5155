"""The `viewforge` command: one module per group of subcommands, importing its room only when called."""
