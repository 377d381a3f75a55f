"""TNT and ViT in MindSpore, with the programs that one rank runs."""
