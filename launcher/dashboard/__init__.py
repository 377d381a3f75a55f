"""The index of runs, and folders of runs in stores, come in; web pages for this machine's user go out."""
