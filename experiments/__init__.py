"""Which runs answer a question; owns no mechanism."""
