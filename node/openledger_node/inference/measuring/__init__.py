"""What an operator's own machine does with a base: the engine, timed from outside."""
