"""How every corpus and every benchmark becomes a token store."""
