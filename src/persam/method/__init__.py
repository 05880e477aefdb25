"""The paper, one idea a file, in its order: features, confidence, location, guide, cascade, scale, instances."""
