"""Ray Tune and Optuna: trials by list, or as a search asks for them."""
