"""The numbers of a run come in; they go out in the form of an experiment tracker, once or again and again while the run goes on."""
