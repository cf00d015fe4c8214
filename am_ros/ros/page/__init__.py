"""The operator's page on running nodes: what they say and what is asked of them; the services that it needs of them."""
