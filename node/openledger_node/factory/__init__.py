"""ModelFactory: trains adapters on the rows of a Datanet."""
