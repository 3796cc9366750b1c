"""Training conversations, made of scenes and annotations, or of data that others released."""
