"""Vision-language models behind one protocol, what they cost, and the cache of what they said."""
