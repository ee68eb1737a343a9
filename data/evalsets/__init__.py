"""One file per benchmark; each yields the text of its items."""
