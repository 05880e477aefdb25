"""The service under load: what several clients at once get, beside a bare loop over the model."""
