"""Classification: a linear probe on a frozen encoder, or both trained together."""
