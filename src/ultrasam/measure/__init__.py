"""Sizes of a mask: area, outline, diameters and ellipse, in mm where the spacing of the pixels is known."""
