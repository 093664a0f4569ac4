"""Schema revisions of the registry, run by alembic through `ablab.registry.schema`.

To change a table: change `models.py`, run `alembic.command.revision(migration_config(), "why", rev_id="0002")`,
write `upgrade` in the new file and add the number to `schema.REVISIONS`. There is no way back down: a registry
is rebuilt from files by `ablab reindex`.
"""
