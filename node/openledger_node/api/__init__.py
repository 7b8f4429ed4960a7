"""HTTP: the API, the routes of the operator, the page, and the guard in front of all of them."""
