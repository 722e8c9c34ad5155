"""What a training will take, found before anything that costs is started: `viewforge train --plan`."""
