"""The market: for now its buying half, which pays for answers and believes nothing that it can count itself."""
