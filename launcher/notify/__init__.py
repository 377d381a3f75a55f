"""A run and its `notify:` section come in; messages to people go out, each once."""
