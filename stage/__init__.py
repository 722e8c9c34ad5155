"""What every stage of the pipeline shares: parameters, files, seeds, failures, progress, worker processes.

A stage is one plain function with typed parameters that reads its inputs from disk and writes its outputs to disk.
Nothing here knows what is rendered, trained or measured; every other room may import from here.
"""
