"""What families that read tokens share: loss terms, bodies cut from a model, one staged loop."""
