"""What a person can choose of how a picture is prepared; a command line that lists it imports nothing heavy."""

from typing import Literal

ForegroundChoice = Literal["auto", "alpha", "segment", "none"]
"""Besides, the path of a mask. `auto`: alpha where the picture has a real one, else a network where it is there."""

FramingName = Literal["zero123", "syncdreamer", "lgm", "centre_square", "none"]
"""`none` shows the whole picture, made square by transparent margins."""
