"""Ray marching: rays of cameras, samples along them, and what a field shows there, differentiably in plain PyTorch."""
