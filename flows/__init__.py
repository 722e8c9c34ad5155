"""Prefect flows: they take the stage graph from DVC and add what only an orchestrator can. No domain logic here."""
