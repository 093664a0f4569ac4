"""The evaluator of the stage DAG: resolve, plan, execute, compare, publish."""
