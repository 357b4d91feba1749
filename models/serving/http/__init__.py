"""The service over HTTP: its routes, who may call them, what a request may cost, its metrics."""
