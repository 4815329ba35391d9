"""Files in and out: pictures, label maps in the encodings of the field, pairs, atomic writes."""
