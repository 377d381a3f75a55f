"""In: the name of an architecture, or weights of another framework. Out: a TNT or ViT with weights, for this device."""
