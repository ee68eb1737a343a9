"""One file per corpus; each yields utterances."""
