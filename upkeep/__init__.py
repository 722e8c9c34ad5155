"""What keeps an installation sound: verifying what is stored, restoring it, and removing what nobody needs any more."""
