"""Template tags of the app `twofold.contrib.django`."""
