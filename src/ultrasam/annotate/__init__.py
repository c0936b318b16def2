"""A local page to annotate images, clips and volumes; needs the extra `annotate`."""
