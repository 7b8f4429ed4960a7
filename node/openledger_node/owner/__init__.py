"""What the owner of the machine sees and says: status and its reasons, prices, limits, pauses."""
