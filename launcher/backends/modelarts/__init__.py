"""A Plan comes in; a training job of Huawei's ModelArts goes out, with its request, its rules and the programs of its containers."""
