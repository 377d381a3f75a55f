"""A run that somebody names comes in; what trackers are to hold of it goes out (see `launcher/tracking`)."""
