"""Updates: a signed manifest, a second environment beside the first, the switch to it, and the way back."""
