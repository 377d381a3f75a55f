"""The text of a YAML or JSON file comes in; a tree whose keys and values know their places, or problems, go out."""
