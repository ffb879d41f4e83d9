"""Uploaded archives, unpacked without trust in what they say."""
