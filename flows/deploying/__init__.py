"""What `darkroom deploy` puts on a Prefect server: what is declared, and what differs from it there."""
