"""Weather: probabilistic forecasts on the sphere, scale by scale."""
