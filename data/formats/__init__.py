"""One file per system whose files of speech units are read and written."""
