"""The output of Ascend's tools comes in; the NPUs of this machine go out, and locks that hold them for one run."""
