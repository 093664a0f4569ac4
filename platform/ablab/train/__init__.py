"""Training with DeepSpeed (`stage`), its data order (`data`) and the choice of a checkpoint (`select`)."""
