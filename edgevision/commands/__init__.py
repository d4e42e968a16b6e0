"""One file per command; each is light and imports what it needs inside its function."""
