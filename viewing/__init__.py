"""Looking at Gaussians: an orbit video, a contact sheet, a page for the browser, and the files that other viewers read."""
