"""Ways of learning that several systems share."""
