"""What pictures are judged by: each figure with its definition, computed by a maintained implementation."""
