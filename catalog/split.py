"""Train, validation and test by a stable hash of the uid: an object keeps its split whatever else is in the catalogue."""

import hashlib

from pydantic import Field, model_validator

from stage.parameters import Parameters


class SplitParameters(Parameters):
    """Shares of the objects that are held out."""

    val: float = Field(default=0.1, ge=0, le=1)
    """Share of validation objects."""
    test: float = Field(default=0.1, ge=0, le=1)
    """Share of test objects."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "SplitParameters":
        if self.val + self.test >= 1.0:
            raise ValueError(f"val + test = {self.val + self.test:g} leaves nothing to train on")
        return self


def split_of(uid: str, shares: SplitParameters) -> str:
    """The split of an object, from its uid alone."""
    position = int.from_bytes(hashlib.sha256(f"split\0{uid}".encode()).digest()[:8], "big") / 2.0**64
    if position < shares.test:
        return "test"
    return "val" if position < shares.test + shares.val else "train"
