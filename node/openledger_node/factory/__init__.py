"""ModelFactory: training an adapter on the rows of a Datanet."""
