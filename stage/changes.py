"""What a stage made and what it kept, for the line that it ends with."""

from dataclasses import dataclass


@dataclass
class Changes:
    """Counts of one run of a stage; whoever works adds to them."""

    made: int = 0
    """Objects that were made, or made anew."""
    kept: int = 0
    """Objects that are as the run before left them."""
    failed: int = 0
    written: int = 0
    """Packs or shards that were written."""
    files: int = 0
    """Packs or shards that there are."""

    def line(self, files: str, made: str = "made") -> str:
        """In words, as "1 of 501 objects made, 500 kept; 1 of 4 packs written".

        Args:
            files: what objects are gathered in, in the plural; nothing is said of them where there are none.
            made: what was done with the objects.
        """
        objects = f"{self.made:,} of {self.made + self.kept + self.failed:,} objects {made}, {self.kept:,} kept"
        return f"{objects}; {self.written:,} of {self.files:,} {files} written" if self.files else objects
