"""The earlier generation of Zero-1-to-G: six views as one grid of 3 × 2, whose autoencoder's decoder makes splatter images."""
