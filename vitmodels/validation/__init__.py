"""A tree of values and a pydantic model come in; a value of the model, or problems with places, go out."""
