"""The published systems, a folder each: conditioning, loss, and a diffusers pipeline to sample with."""
